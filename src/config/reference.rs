//! `${env:NAME}` and `${file:PATH}` inside strings. They are replaced after the YAML is parsed, so that no value
//! from outside can change the file's shape.

use std::env::VarError;
use std::path::Path;

/// Where references are looked up.
pub(super) struct Resolver<'a> {
    /// Reads an environment variable.
    pub(super) variable: &'a dyn Fn(&str) -> Result<String, VarError>,
    /// Folder of the configuration file: relative paths begin there.
    pub(super) folder: &'a Path,
}

impl Resolver<'_> {
    /// Replaces every reference; `$${` stands for a plain `${`. The error says which reference and why, and never
    /// holds a value.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find("${") {
            let (before, reference) = rest.split_at(open);
            if let Some(kept) = before.strip_suffix('$') {
                expanded.push_str(kept);
                expanded.push_str("${");
                rest = &reference[2..];
                continue;
            }
            expanded.push_str(before);
            let Some(close) = reference.find('}') else {
                return Err("a `${` is never closed: write $${ for the two characters".into());
            };
            expanded.push_str(&self.look_up(&reference[2..close])?);
            rest = &reference[close + 1..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn look_up(&self, name: &str) -> Result<String, String> {
        match name.split_once(':') {
            Some(("env", variable)) => (self.variable)(variable).map_err(|error| match error {
                VarError::NotPresent => format!("the environment variable {variable} is not set"),
                VarError::NotUnicode(_) => format!("the environment variable {variable} is no UTF-8 text"),
            }),
            Some(("file", path)) => {
                let path = self.folder.join(path);
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                // Editors and `echo` end a file with a line break that is no part of the value.
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => Err(format!("`${{{name}}}` is not known: only ${{env:NAME}} and ${{file:PATH}} are")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "HOST" => Ok("kafka".to_owned()),
            "TRICKY" => Ok("${env:HOST}: [".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        Resolver { variable: &variable, folder: Path::new("/nonexistent") }.expand(text)
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(expand("${env:HOST}:9092").as_deref(), Ok("kafka:9092"));
        assert_eq!(expand("a${env:HOST}b${env:HOST}").as_deref(), Ok("akafkabkafka"));
        // What comes out of a reference is a value, never a reference again.
        assert_eq!(expand("${env:TRICKY}").as_deref(), Ok("${env:HOST}: ["));
        assert_eq!(expand("plain $ text}").as_deref(), Ok("plain $ text}"));
        assert_eq!(expand("$${env:HOST}").as_deref(), Ok("${env:HOST}"));
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_named() {
        assert_eq!(expand("${env:NOPE}"), Err("the environment variable NOPE is not set".into()));
        let error = expand("${file:secret}").expect_err("no such file");
        assert!(error.starts_with("cannot read /nonexistent/secret: "), "{error}");
        let error = expand("${HOST}").expect_err("no kind");
        assert!(error.starts_with("`${HOST}` is not known"), "{error}");
        expand("${env:HOST").expect_err("not closed");
    }

    #[test]
    fn a_file_loses_its_last_line_break() {
        let folder = std::env::temp_dir().join(format!("twinlog-reference-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        std::fs::write(folder.join("host"), "kafka\n").expect("written");
        let resolver = Resolver { variable: &|_| Err(VarError::NotPresent), folder: &folder };
        assert_eq!(resolver.expand("${file:host}:1").as_deref(), Ok("kafka:1"));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
