//! What fuzzing has found and learned, again on stable Rust: each input of `fuzz/corpus`.

use std::fs;
use std::path::Path;

use twinlog_protocol_tests::hostile::TARGETS;

/// A target's corpus that was lost would pass in silence.
const INPUTS_MIN: usize = 20;

#[test]
fn every_input_of_the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = corpus.join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("an entry").path();
            // What breaks it is named before it does.
            println!("{}", path.display());
            target(&fs::read(&path).expect("the input is read"));
            count += 1;
        }
        assert!(count >= INPUTS_MIN, "{name} has only {count} inputs");
    }
}
