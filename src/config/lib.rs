//! From a file to a checked [`Config`], in two steps: `yaml` reads the shape and keeps places, `check` makes
//! sense of it and collects everything that is wrong at once.

mod check;
mod issue;
mod memory;
mod raw;
mod reference;
mod reference_page;
mod schema;
mod secrets;
mod shape;
mod show;
mod units;
mod yaml;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::{io, iter};

use twinlog_core::config::Config;
use twinlog_core::report::{Failure, FailureKind, Failures};

use issue::{Issue, Place};
use reference::Resolver;
pub use reference::Surroundings;
pub use reference_page::reference_page;
pub use schema::schema;
pub use units::{duration, show_size, size};

/// Environment variable that names the configuration file.
const CONFIG_VARIABLE: &str = "TWINLOG_CONFIG";
/// Where the file is looked for when nothing names it.
const CONFIG_PLACES: [&str; 2] = ["twinlog.yaml", "/etc/twinlog/twinlog.yaml"];

/// Whether this build can log in by AWS_MSK_IAM.
const HAS_MSK_IAM: bool = cfg!(feature = "msk-iam");

/// A checked configuration and the file that it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    path: PathBuf,
    text: String,
    /// Files whose contents are values in it.
    values: BTreeSet<PathBuf>,
}

impl Loaded {
    /// All files whose contents it consists of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        iter::once(&self.path).chain(&self.values).map(PathBuf::as_path)
    }

    /// Reads and checks the same file again.
    ///
    /// # Errors
    ///
    /// As of [`load`].
    pub fn again(&self) -> Result<Self, Failures> {
        let bytes = std::fs::read(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        check(self.path.clone(), text(&self.path, bytes)?)
    }

    /// Something that is wrong with a key, with its line. `key` is the way to it from the top of the file on; of one
    /// that does not stand there the line of what it would stand in is shown.
    pub fn wrong(&self, key: &[String], what: &str) -> Failure {
        let place = yaml::place_of(&self.text, key);
        Issue::new(place, format!("{}: {what}", key.join("."))).show(&self.path, &self.text)
    }
}

/// Finds, reads and checks the configuration. `named` is the file given by `-c`.
///
/// # Errors
///
/// Of the kind `Usage`: no file, one that cannot be read, or everything that is wrong in it.
pub fn load(named: Option<&Path>) -> Result<Loaded, Failures> {
    let (path, text) = find(named, std::env::var_os(CONFIG_VARIABLE), &CONFIG_PLACES)?;
    check(path, text)
}

fn check(path: PathBuf, text: String) -> Result<Loaded, Failures> {
    let open = |path: &Path| Ok(Box::new(File::open(path)?) as Box<dyn io::Read>);
    let surroundings = Surroundings { variable: &|name| std::env::var(name), open: &open };
    let (config, values) = read_with_values(HAS_MSK_IAM, &path, &text, &surroundings)?;
    Ok(Loaded { config, path, text, values })
}

/// The configuration as it stands in its file, checked, as YAML; with `defaults` also the keys that do not stand there
/// and have one. What the file refers to is not shown.
///
/// # Errors
///
/// As of [`load`].
pub fn show(named: Option<&Path>, defaults: bool) -> Result<String, Failures> {
    let Loaded { path, text, config, .. } = load(named)?;
    let tree = yaml::tree(&text).map_err(|issue| issue.show(&path, &text))?;
    let without = config.links.iter().find(|(name, _)| tree["links"][name.as_str()].get("budget").is_none());
    Ok(show::show(&tree, defaults, without.map(|(_, link)| link.budget_bytes)))
}

/// Reads and checks the `text` of a configuration that stands at `path`, where relative paths begin.
///
/// # Errors
///
/// Everything that is wrong in it, in the order of its lines, each of the kind `Usage`.
pub fn read(path: &Path, text: &str, surroundings: &Surroundings<'_>) -> Result<Config, Failures> {
    read_with_values(HAS_MSK_IAM, path, text, surroundings).map(|(config, _)| config)
}

/// The same, with the files whose contents are values in it.
fn read_with_values(
    has_msk_iam: bool,
    path: &Path,
    text: &str,
    surroundings: &Surroundings<'_>,
) -> Result<(Config, BTreeSet<PathBuf>), Failures> {
    let resolver = Resolver::new(surroundings, path.parent().unwrap_or_else(|| Path::new("")));
    let checked = yaml::parse(text).and_then(|raw| check::check(&raw, &resolver, has_msk_iam));
    match checked {
        Ok(config) => Ok((config, resolver.into_files())),
        Err(issues) => Err(Failures(issues.iter().map(|issue| issue.show(path, text)).collect())),
    }
}

/// A file that is named must be there; the usual places are tried in order.
fn find(named: Option<&Path>, variable: Option<OsString>, places: &[&str]) -> Result<(PathBuf, String), Failures> {
    let named = match (named, variable) {
        (Some(path), _) => Some((path.to_owned(), "-c")),
        (None, Some(path)) if !path.is_empty() => Some((PathBuf::from(path), CONFIG_VARIABLE)),
        _ => None,
    };
    if let Some((path, by)) = named {
        let bytes = std::fs::read(&path)
            .map_err(|error| unreadable(&path, &error).advise(format!("check the path given by {by}")))?;
        let text = text(&path, bytes)?;
        return Ok((path, text));
    }
    for place in places {
        match std::fs::read(place) {
            Ok(bytes) => return Ok((PathBuf::from(place), text(Path::new(place), bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file that is there and cannot be read was meant: the next place would be a surprise.
            Err(error) => return Err(unreadable(Path::new(place), &error).into()),
        }
    }
    let what = format!("no configuration file: {CONFIG_VARIABLE} is not set, and none of {}", places.join(", "));
    Err(Failure::new(FailureKind::Usage, what + " is there").advise("name it: twinlog -c FILE …").into())
}

/// The file's bytes as text; else the place of the first that is none.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let column = good.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let place = Place { line: good.matches('\n').count() + 1, column, length: 1 };
        Issue::new(place, "the file is no UTF-8 text from here on").advise("save it as UTF-8").show(path, &good)
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Usage, format!("cannot read the configuration file {}: {error}", path.display()))
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod semantics;
#[cfg(test)]
mod tests;
