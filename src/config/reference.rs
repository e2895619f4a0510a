//! `${env:NAME}` and `${file:PATH}` inside strings. They are replaced after the YAML is parsed, so that no value
//! from outside can change the file's shape.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env::VarError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::units::show_size;

/// Of a file whose content is a value, in bytes.
const VALUE_BYTES_MAX: u64 = 64 << 10;
/// Of a PEM file, in bytes: a system's authorities take some hundred kilobytes.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// What a configuration may refer to outside of its file.
#[expect(missing_debug_implementations, reason = "functions have none")]
pub struct Surroundings<'a> {
    /// Reads an environment variable.
    pub variable: &'a dyn Fn(&str) -> Result<String, VarError>,
    /// Opens a file.
    pub open: &'a dyn Fn(&Path) -> io::Result<Box<dyn Read>>,
}

/// Where references are looked up.
pub(super) struct Resolver<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    /// Folder of the configuration file: relative paths begin there.
    folder: &'a Path,
    /// Files whose contents were looked up.
    files: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(surroundings: &'a Surroundings<'a>, folder: &'a Path) -> Self {
        Self { surroundings, folder, files: RefCell::default() }
    }

    /// Files whose contents were looked up.
    pub(super) fn into_files(self) -> BTreeSet<PathBuf> {
        self.files.into_inner()
    }

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
            Some(("env", variable)) => (self.surroundings.variable)(variable).map_err(|error| match error {
                VarError::NotPresent => format!("the environment variable {variable} is not set"),
                VarError::NotUnicode(_) => format!("the environment variable {variable} is no UTF-8 text"),
            }),
            Some(("file", path)) => {
                let path = self.folder.join(path);
                let text = (self.surroundings.open)(&path).and_then(read_value);
                let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                self.files.borrow_mut().insert(path);
                // Editors and `echo` end a file with a line break that is no part of the value.
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => Err(format!("`${{{name}}}` is not known: only ${{env:NAME}} and ${{file:PATH}} are")),
        }
    }

    /// The path of a file that is read later, if it can be read.
    pub(super) fn readable(&self, text: &str) -> Result<String, String> {
        self.open(text).map(|(path, _)| path)
    }

    /// The path of a PEM file that is read later, if it can be used now.
    pub(super) fn pem(&self, text: &str, pem: Pem) -> Result<String, String> {
        let (path, file) = self.open(text)?;
        let mut content = Vec::new();
        file.take(PEM_BYTES_MAX).read_to_end(&mut content).map_err(|error| format!("cannot read {path}: {error}"))?;
        match pem.mistake(&content) {
            Some(why) => Err(format!("cannot use {path}: {why}")),
            None => Ok(path),
        }
    }

    fn open(&self, text: &str) -> Result<(String, Box<dyn Read>), String> {
        let path = self.folder.join(text);
        let Some(shown) = path.to_str() else {
            return Err("the path is no UTF-8 text".into());
        };
        match (self.surroundings.open)(&path) {
            Ok(file) => Ok((shown.to_owned(), file)),
            Err(error) => Err(format!("cannot read {shown}: {error}")),
        }
    }
}

/// What a PEM file must hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pem {
    Certificates,
    PrivateKey,
}

impl Pem {
    /// What is wrong with a file's content, if anything is.
    fn mistake(self, content: &[u8]) -> Option<String> {
        let found = match self {
            Self::Certificates => {
                CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().map(|all| !all.is_empty())
            }
            Self::PrivateKey => PrivateKeyDer::pem_slice_iter(content).next().transpose().map(|key| key.is_some()),
        };
        match (found, self) {
            (Ok(true), _) => None,
            (Ok(false), Self::Certificates) => Some("it holds no certificate in PEM".into()),
            (Ok(false), Self::PrivateKey) => Some("it holds no private key in PEM, without a passphrase".into()),
            (Err(error), _) => Some(error.to_string()),
        }
    }
}

/// A value is a line or some, and no device that never ends.
fn read_value(file: Box<dyn Read>) -> io::Result<String> {
    let text = io::read_to_string(file.take(VALUE_BYTES_MAX + 1))?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        let words = format!("it is larger than {}", show_size(VALUE_BYTES_MAX));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(text)
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
        let surroundings = Surroundings { variable: &variable, open: &|_| Err(io::ErrorKind::NotFound.into()) };
        Resolver::new(&surroundings, Path::new("/nonexistent")).expand(text)
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
        let open = |path: &Path| {
            assert_eq!(path, Path::new("folder/host"));
            Ok(Box::new(&b"kafka\n"[..]) as Box<dyn Read>)
        };
        let surroundings = Surroundings { variable: &|_| Err(VarError::NotPresent), open: &open };
        let resolver = Resolver::new(&surroundings, Path::new("folder"));
        assert_eq!(resolver.expand("${file:host}:1").as_deref(), Ok("kafka:1"));
        assert_eq!(resolver.into_files(), [PathBuf::from("folder/host")].into());
    }

    #[test]
    fn a_file_without_end_is_no_value() {
        let open = |_: &Path| Ok(Box::new(io::repeat(b'x')) as Box<dyn Read>);
        let surroundings = Surroundings { variable: &|_| Err(VarError::NotPresent), open: &open };
        let error = Resolver::new(&surroundings, Path::new("folder")).expand("${file:zero}").expect_err("too large");
        assert_eq!(error, "cannot read folder/zero: it is larger than 64KiB");
    }
}
