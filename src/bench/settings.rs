//! The settings that a bench tries.

use serde::Serialize;
use twinlog_config::show_size;
use twinlog_core::config::{FetchConfig, LANES_DEFAULT, LinkConfig, ProduceConfig, SocketConfig};

/// Those settings of a link that a bench tries others of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Settings {
    /// `lanes`.
    pub(crate) lanes: u16,
    /// `fetch.max_bytes`.
    pub(crate) max_bytes: i32,
    /// `fetch.partition_max_bytes`.
    pub(crate) partition_max_bytes: i32,
    /// `produce.in_flight`.
    pub(crate) in_flight: u16,
    /// `sockets.receive_buffer`.
    pub(crate) receive_buffer: Option<u32>,
    /// `sockets.send_buffer`.
    pub(crate) send_buffer: Option<u32>,
}

impl Default for Settings {
    /// Those of a link that names none.
    fn default() -> Self {
        let FetchConfig { max_bytes, partition_max_bytes, .. } = FetchConfig::default();
        let SocketConfig { receive_buffer, send_buffer } = SocketConfig::default();
        let in_flight = ProduceConfig::default().in_flight;
        Self { lanes: LANES_DEFAULT, max_bytes, partition_max_bytes, in_flight, receive_buffer, send_buffer }
    }
}

impl Settings {
    /// As a link has them.
    pub(crate) fn of(link: &LinkConfig) -> Self {
        let FetchConfig { max_bytes, partition_max_bytes, .. } = link.fetch;
        let SocketConfig { receive_buffer, send_buffer } = link.sockets;
        let in_flight = link.produce.in_flight;
        Self { lanes: link.lanes, max_bytes, partition_max_bytes, in_flight, receive_buffer, send_buffer }
    }

    /// The link with these.
    pub(crate) fn apply(self, link: &LinkConfig) -> LinkConfig {
        let Self { lanes, max_bytes, partition_max_bytes, in_flight, receive_buffer, send_buffer } = self;
        LinkConfig {
            lanes,
            fetch: FetchConfig { max_bytes, partition_max_bytes, ..link.fetch },
            produce: ProduceConfig { in_flight },
            sockets: SocketConfig { receive_buffer, send_buffer },
            ..link.clone()
        }
    }

    /// What is other than in `base`, key by key.
    fn changes(self, base: Self) -> Vec<(&'static str, &'static str, String)> {
        let size = |bytes: i32| show_size(u64::try_from(bytes).unwrap_or_default());
        let buffer = |bytes: Option<u32>| bytes.map_or_else(|| "the kernel's".to_owned(), |b| show_size(b.into()));
        let keys = [
            (self.lanes != base.lanes, "lanes", "", self.lanes.to_string()),
            (self.max_bytes != base.max_bytes, "fetch", "max_bytes", size(self.max_bytes)),
            (
                self.partition_max_bytes != base.partition_max_bytes,
                "fetch",
                "partition_max_bytes",
                size(self.partition_max_bytes),
            ),
            (self.in_flight != base.in_flight, "produce", "in_flight", self.in_flight.to_string()),
            (self.receive_buffer != base.receive_buffer, "sockets", "receive_buffer", buffer(self.receive_buffer)),
            (self.send_buffer != base.send_buffer, "sockets", "send_buffer", buffer(self.send_buffer)),
        ];
        let changed = keys.into_iter().filter(|(is_other, ..)| *is_other);
        changed.map(|(_, section, key, value)| (section, key, value)).collect()
    }

    /// In words, beside what the link has.
    pub(crate) fn words(self, base: Self) -> String {
        let word = |(section, key, value): (&str, &str, String)| match key {
            "" => format!("{section} {value}"),
            key => format!("{section}.{key} {value}"),
        };
        let words: Vec<_> = self.changes(base).into_iter().map(word).collect();
        if words.is_empty() { "as configured".to_owned() } else { words.join(", ") }
    }

    /// What to write into the configuration file of a link that has `base`.
    pub(crate) fn yaml(self, base: Self, link: &str) -> String {
        let mut text = format!("links:\n  {link}:\n");
        let changes = self.changes(base);
        for section in changes.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((name, key, value)) = section.first() else { continue };
            if key.is_empty() {
                // What stands there counts for a new link only.
                let resize = format!("twinlog lanes resize {link} {value}");
                text.push_str(&format!("    {name}: {value} # of a link that is there: {resize}\n"));
                continue;
            }
            let keys: Vec<_> = section.iter().map(|(_, key, value)| format!("{key}: {value}")).collect();
            text.push_str(&format!("    {name}: {{ {} }}\n", keys.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_other_is_shown_and_nothing_else() {
        let base = Settings::default();
        assert_eq!(base.words(base), "as configured");
        let other = Settings { lanes: 8, partition_max_bytes: 256 << 10, receive_buffer: Some(4 << 20), ..base };
        let wanted = "lanes 8, fetch.partition_max_bytes 256KiB, sockets.receive_buffer 4MiB";
        assert_eq!(other.words(base), wanted);
        assert_eq!(base.words(other).split(", ").last(), Some("sockets.receive_buffer the kernel's"));
    }

    #[test]
    fn the_yaml_is_what_the_configuration_takes() {
        let base = Settings::default();
        let other = Settings {
            lanes: 8,
            max_bytes: 2 << 20,
            partition_max_bytes: 256 << 10,
            in_flight: 8,
            receive_buffer: Some(1 << 20),
            send_buffer: Some(1 << 20),
        };
        let wanted = "\
links:
  dr:
    lanes: 8 # of a link that is there: twinlog lanes resize dr 8
    fetch: { max_bytes: 2MiB, partition_max_bytes: 256KiB }
    produce: { in_flight: 8 }
    sockets: { receive_buffer: 1MiB, send_buffer: 1MiB }
";
        assert_eq!(other.yaml(base, "dr"), wanted);
        let rest = "    source: a\n    target: b\n    topics: {include: [x]}\n";
        let file = format!("clusters: {{a: {{bootstrap: [a:1]}}, b: {{bootstrap: [b:1]}}}}\n{wanted}{rest}");
        let config = crate::cli::tests::read(&file).expect("a configuration");
        assert_eq!(Settings::of(&config.links["dr"]), other);
        let plain = file.replace(wanted, "links:\n  dr:\n");
        let plain = crate::cli::tests::read(&plain).expect("a configuration");
        assert_eq!(Settings::of(&plain.links["dr"]), base);
        assert_eq!(other.apply(&plain.links["dr"]), config.links["dr"]);
    }
}
