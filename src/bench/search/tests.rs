//! Searches over clusters that are made up: a function from settings to bytes a second.

use super::*;

const BOUNDS: Bounds = Bounds { partitions: 16, cores: 4, budget_bytes: 64 << 20 };

/// What the made-up link has.
fn link() -> Settings {
    Settings { lanes: 4, max_bytes: 8 << 20, partition_max_bytes: 1 << 20, ..Settings::default() }
}

/// Runs a search to its end, or for so many runs; `rate` is asked with the number of the run.
fn search(most: usize, rate: impl Fn(usize, Settings) -> f64) -> (Search, Vec<Settings>) {
    let (mut search, mut ran) = (Search::new(link(), BOUNDS), Vec::new());
    while ran.len() < most
        && let Some(settings) = search.next()
    {
        search.ran(settings, rate(ran.len(), settings));
        ran.push(settings);
    }
    (search, ran)
}

/// A part of the rate that changes from run to run, by up to `part` to each side.
fn noise(run: usize, part: f64) -> f64 {
    1.0 + part * [0.3, -1.0, 0.7, 0.0, 1.0, -0.4, -0.8, 0.5][run % 8]
}

#[test]
fn where_nothing_matters_nothing_is_recommended_and_the_end_comes_soon() {
    let (search, ran) = search(100, |_, _| 100.0);
    assert_eq!(search.conclusion(), Conclusion::Fine);
    assert!(search.made_no_difference());
    assert_eq!(search.untried(), []);
    // One run of what is there for each axis, and one of each neighbour.
    assert_eq!(ran.len(), 12);
    assert_eq!(ran.iter().filter(|settings| **settings == link()).count(), 4);
}

#[test]
fn noise_is_no_gain() {
    let (search, ran) = search(100, |run, _| 100.0 * noise(run, 0.2));
    assert_eq!(search.conclusion(), Conclusion::Fine);
    assert!(ran.len() <= 28, "{}", ran.len());
}

#[test]
fn an_axis_is_followed_as_long_as_it_gets_better() {
    let (search, ran) = search(100, |run, settings| f64::from(settings.lanes) * noise(run, 0.1));
    let wanted = Settings { lanes: 16, ..link() };
    assert_eq!(search.conclusion(), Conclusion::Better(wanted));
    assert!(!search.made_no_difference());
    assert!(ran.iter().all(|settings| settings.lanes <= 16), "more lanes than partitions");
}

#[test]
fn a_better_setting_ran_in_turn_with_the_former_one() {
    let (_, ran) = search(7, |_, settings| f64::from(settings.lanes));
    let lanes: Vec<u16> = ran.iter().map(|settings| settings.lanes).collect();
    assert_eq!(lanes, [4, 8, 2, 4, 8, 4, 8]);
}

#[test]
fn what_is_found_on_one_axis_is_kept_on_the_next() {
    let rate = |run, settings: Settings| {
        let fewer = 1.0 / f64::from(settings.lanes);
        let small = if settings.max_bytes <= 2 << 20 { 2.0 } else { 1.0 };
        fewer * small * noise(run, 0.01)
    };
    let (search, _) = search(200, rate);
    let Conclusion::Better(found) = search.conclusion() else { panic!("{:?}", search.conclusion()) };
    assert_eq!((found.lanes, found.in_flight), (1, 4));
    assert_eq!((found.max_bytes, found.partition_max_bytes), (2 << 20, 256 << 10));
}

#[test]
fn a_gain_within_5_percent_is_none_however_sure_it_is() {
    let gain = |gain: f64| search(100, move |_, s| if s.in_flight == 8 { gain } else { 1.0 }).0.conclusion();
    assert_eq!(gain(1.04), Conclusion::Fine);
    assert_eq!(gain(1.06), Conclusion::Better(Settings { in_flight: 8, ..link() }));
}

#[test]
fn a_single_run_that_reaches_into_the_others_range_is_enough_to_refuse() {
    // Eight lanes: 130, 130 and in the last run 100, which is what four had in their best.
    let rate = |run, settings: Settings| if settings.lanes == 8 && run != 6 { 130.0 } else { 100.0 };
    assert_eq!(search(100, rate).0.conclusion(), Conclusion::Fine);
}

#[test]
fn what_was_broken_off_says_so_and_recommends_nothing() {
    let rate = |_, settings: Settings| f64::from(settings.lanes);
    let (early, _) = search(2, rate);
    assert_eq!((early.conclusion(), early.untried().len()), (Conclusion::TooFew, 4));
    // Eight lanes had two runs, four had three.
    let (later, ran) = search(6, rate);
    assert_eq!(ran.iter().filter(|settings| settings.lanes == 4).count(), 3);
    assert_eq!(later.conclusion(), Conclusion::Fine);
    assert!(!later.made_no_difference(), "not everything was tried");
}

#[test]
fn neighbours_stay_within_their_bounds() {
    for (settings, bounds) in [
        (link(), BOUNDS),
        (Settings { lanes: 1, in_flight: 1, ..link() }, Bounds { partitions: 1, cores: 1, ..BOUNDS }),
        (Settings { lanes: 256, in_flight: 32, ..link() }, BOUNDS),
        (Settings { max_bytes: 1 << 30, receive_buffer: Some(512 << 20), ..link() }, BOUNDS),
        (Settings { max_bytes: 1 << 10, partition_max_bytes: 1 << 10, send_buffer: Some(16 << 10), ..link() }, BOUNDS),
    ] {
        for axis in Axis::ALL {
            for found in axis.neighbours(settings, bounds) {
                assert_ne!(found, settings);
                assert!((1..=256).contains(&found.lanes) && (1..=32).contains(&found.in_flight), "{found:?}");
                assert!(found.partition_max_bytes <= found.max_bytes, "{found:?}");
                assert!(u64::try_from(found.max_bytes).unwrap() <= bounds.budget_bytes.max(1 << 30), "{found:?}");
                let buffers = [found.receive_buffer, found.send_buffer];
                assert!(buffers.iter().flatten().all(|bytes| (16 << 10..=512 << 20).contains(bytes)), "{found:?}");
            }
        }
    }
}

#[test]
fn a_larger_answer_than_the_budget_allows_is_not_tried() {
    let sizes = |lanes| Axis::FetchSize.neighbours(Settings { lanes, partition_max_bytes: 4 << 20, ..link() }, BOUNDS);
    // A quarter of a lane's part is 16 MiB and 64 KiB.
    assert!(sizes(1).iter().any(|found| found.max_bytes == 32 << 20));
    assert!(sizes(256).iter().all(|found| found.max_bytes < 8 << 20));
}

#[test]
fn medians_and_ranges() {
    assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 4.0]), median(&[9.0, 1.0, 2.0])), (0.0, 3.0, 2.5, 2.0));
    assert_eq!((range(&[]), range(&[2.0, 1.0, 3.0])), (None, Some((1.0, 3.0))));
}
