//! Where Debian's packages come from: the mirrors that this host's own apt sources name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::entries;

/// The release whose packages we use: the last one with an i386 kernel (6.1).
pub(crate) const RELEASE: &str = "bookworm";
/// Its security updates, which have an archive of their own.
pub(crate) const SECURITY: &str = "bookworm-security";
/// Where the Debian archive's keys are on a Debian host.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One place that has the main section of one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The archive's address.
    pub uri: String,
    /// The suite, such as `bookworm`.
    pub suite: String,
    /// The file with the key that the archive is signed with; apt's own keys where `None`.
    pub signed_by: Option<String>,
}

impl Source {
    /// The source as one line of a sources.list.
    pub(crate) fn line(&self) -> String {
        let option = match &self.signed_by {
            Some(keyring) => format!("[signed-by={keyring}] "),
            None => String::new(),
        };
        format!("deb {option}{} {} main\n", self.uri, self.suite)
    }
}

/// The release at the mirror asked for, else those of `suites` that the host's apt sources name;
/// never empty.
///
/// # Errors
/// When no source is found, or the host's apt sources cannot be read.
pub(crate) fn sources(mirror: Option<&str>, suites: &[&str]) -> Result<Vec<Source>> {
    let keyring = || Path::new(KEYRING).is_file().then(|| KEYRING.to_string());
    if let Some(uri) = mirror {
        let (uri, suite) = (uri.to_string(), RELEASE.to_string());
        return Ok(vec![Source { uri, suite, signed_by: keyring() }]);
    }
    let mut found: Vec<Source> = Vec::new();
    for file in source_files()? {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("reading the apt source {}", file.display()))?;
        let is_deb822 = file.extension().is_some_and(|kind| kind == "sources");
        let entries = if is_deb822 { parse_deb822(&text) } else { parse_one_line(&text) };
        found.extend(entries.iter().flat_map(|entry| entry.sources(suites)));
    }
    for source in &mut found {
        source.signed_by = source.signed_by.take().or_else(keyring);
    }
    found.dedup();
    if found.is_empty() {
        bail!(
            "this host's apt sources name no mirror with Debian {RELEASE} main. Next step: \
             cargo xtask setup --mirror URL, with the address of a Debian mirror"
        );
    }
    Ok(found)
}

/// `suites` at each mirror that has the release; never empty. A host names its own release only,
/// and its mirror has the others, too.
///
/// # Errors
/// As [`sources`].
pub(crate) fn sources_of(mirror: Option<&str>, suites: &[&str]) -> Result<Vec<Source>> {
    let own = sources(mirror, &[RELEASE])?;
    let of_suite = |suite: &&str| {
        let suite = suite.to_string();
        own.iter().map(move |source| Source { suite: suite.clone(), ..source.clone() })
    };
    Ok(suites.iter().flat_map(of_suite).collect())
}

fn source_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let single = PathBuf::from("/etc/apt/sources.list");
    if single.is_file() {
        files.push(single);
    }
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.is_dir() {
        files.extend(entries(parts, "", ".sources")?);
        files.extend(entries(parts, "", ".list")?);
    }
    Ok(files)
}

/// One stanza or line of an apt source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    types: Vec<String>,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    disabled: bool,
}

impl Entry {
    /// The main sections of `suites` that this entry names.
    fn sources(&self, suites: &[&str]) -> Vec<Source> {
        let has = |words: &[String], word: &str| words.iter().any(|each| each == word);
        if self.disabled || !has(&self.types, "deb") || !has(&self.components, "main") {
            return Vec::new();
        }
        let mut found = Vec::new();
        for uri in &self.uris {
            for suite in suites.iter().filter(|suite| has(&self.suites, suite)) {
                let (uri, suite) = (uri.clone(), suite.to_string());
                found.push(Source { uri, suite, signed_by: self.signed_by.clone() });
            }
        }
        found
    }
}

/// The stanzas of a `.sources` file (sources.list(5), "DEB822-STYLE FORMAT").
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = vec![Entry::default()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            entries.push(Entry::default());
            continue;
        }
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                field = name.trim().to_ascii_lowercase();
                value
            }
            _ => line,
        };
        let entry = entries.last_mut().expect("there is always a stanza");
        entry.add(&field, value);
    }
    entries
}

impl Entry {
    fn add(&mut self, field: &str, value: &str) {
        let words = value.split_whitespace().map(str::to_string);
        match field {
            "types" => self.types.extend(words),
            "uris" => self.uris.extend(words),
            "suites" => self.suites.extend(words),
            "components" => self.components.extend(words),
            "enabled" => self.disabled = matches!(value.trim(), "no" | "false" | "0"),
            // A key block may stand here instead of a file's name; then Debian's keyring serves.
            "signed-by" if value.trim().starts_with('/') => {
                self.signed_by = Some(value.trim().to_string());
            }
            _ => {}
        }
    }
}

/// The lines of a `.list` file (sources.list(5), "ONE-LINE-STYLE FORMAT").
fn parse_one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next().unwrap_or_default();
    let (kind, rest) = line.trim().split_once([' ', '\t'])?;
    let (options, rest) = match rest.trim().strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_string);
    let signed_by = options.split_whitespace().find_map(|each| each.strip_prefix("signed-by="));
    Some(Entry {
        types: vec![kind.to_string()],
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_string),
        disabled: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: &[Entry], suites: &[&str]) -> Vec<Source> {
        entries.iter().flat_map(|entry| entry.sources(suites)).collect()
    }

    #[test]
    fn deb822_sources_are_found_suite_by_suite() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By: /keys/debian.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\n\
                    Suites: bookworm-security\nComponents: main\n\nEnabled: no\nTypes: deb\n\
                    URIs: http://off.example\nSuites: bookworm\nComponents: main\n";
        let main = Source {
            uri: "http://mirror.example/debian".into(),
            suite: "bookworm".into(),
            signed_by: Some("/keys/debian.gpg".into()),
        };
        let security = Source {
            uri: "http://mirror.example/security".into(),
            suite: "bookworm-security".into(),
            signed_by: None,
        };
        let entries = parse_deb822(text);
        assert_eq!(found(&entries, &[RELEASE]), std::slice::from_ref(&main));
        assert_eq!(found(&entries, &[RELEASE, SECURITY]), [main, security]);
    }

    #[test]
    fn an_embedded_key_is_not_taken_for_a_file() {
        let text = "Types: deb\nURIs: http://mirror.example\nSuites: bookworm\nComponents:\n main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let sources = found(&parse_deb822(text), &[RELEASE]);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].line(), "deb http://mirror.example bookworm main\n");
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://off.example bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/a.gpg] http://a.example bookworm main contrib\n\
                    deb-src http://b.example bookworm main\n\
                    deb http://c.example bookworm non-free\ndeb\thttp://d.example bookworm main # x\n";
        let sources = found(&parse_one_line(text), &[RELEASE]);
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].line(),
            "deb [signed-by=/keys/a.gpg] http://a.example bookworm main\n"
        );
        assert_eq!(sources[1].line(), "deb http://d.example bookworm main\n");
    }
}
