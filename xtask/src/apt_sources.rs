//! Mirrors that Debian's packages come from: those that this host's own apt sources name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace::entries;

/// The keys of the Debian archive on a Debian host.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The main section of one suite at one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The archive's address.
    pub uri: String,
    /// The suite, such as `bookworm`.
    pub suite: String,
    /// The file with the key that the archive is signed with; `None` for the Debian archive's.
    pub signed_by: Option<String>,
}

impl Source {
    /// The source as one line of a sources.list; apt's own keys serve where there is no key file.
    pub(crate) fn line(&self) -> String {
        let usual = Path::new(KEYRING).is_file().then_some(KEYRING);
        let key = self.signed_by.as_deref().or(usual);
        let option = key.map(|key| format!("[signed-by={key}] ")).unwrap_or_default();
        format!("deb {option}{} {} main\n", self.uri, self.suite)
    }
}

/// Sources of `suite`: at the mirror asked for, else those that the host's apt sources name; never
/// empty.
///
/// # Errors
/// Fails if no source is found, or the host's apt sources cannot be read.
pub(crate) fn sources(mirror: Option<&str>, suite: &str) -> Result<Vec<Source>> {
    if let Some(uri) = mirror {
        return Ok(vec![Source { uri: uri.into(), suite: suite.into(), signed_by: None }]);
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(entries(Path::new("/etc/apt/sources.list.d"), "", ".sources")?);
    files.extend(entries(Path::new("/etc/apt/sources.list.d"), "", ".list")?);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = fs::read_to_string(file)
            .with_context(|| format!("reading the apt source {}", file.display()))?;
        let is_deb822 = file.extension().is_some_and(|kind| kind == "sources");
        found.extend(parse(&text, is_deb822, suite));
    }
    found.dedup();
    ensure!(
        !found.is_empty(),
        "this host's apt sources name no mirror with Debian {suite} main. Next step: \
         cargo xtask setup --mirror URL, with the address of a Debian mirror"
    );
    Ok(found)
}

/// Sources of `suite` in a file of either format of sources.list(5).
fn parse(text: &str, is_deb822: bool, suite: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    if is_deb822 {
        let stanzas = lines.split(|line| line.trim().is_empty());
        stanzas.flat_map(|stanza| parse_entry(&stanza.join("\n"), suite)).collect()
    } else {
        lines.iter().flat_map(|line| parse_entry(line, suite)).collect()
    }
}

/// Sources of `suite` in one line or one stanza. Both are words: `deb`, an address, a suite and
/// `main`, in this order or after the names of their fields.
fn parse_entry(entry: &str, suite: &str) -> Vec<Source> {
    let lines = entry.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(|line| line.split([' ', '\t', '[', ']'])).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let field = |name: &str| {
        let at = words.iter().position(|word| word.eq_ignore_ascii_case(name))?;
        words.get(at + 1).copied()
    };
    let is_off = matches!(field("Enabled:"), Some("no" | "false" | "0"));
    if is_off || !["deb", "main", suite].iter().all(|word| words.contains(word)) {
        return Vec::new();
    }
    let option = words.iter().find_map(|word| word.strip_prefix("signed-by="));
    // A key block may stand here instead of a file's name; then Debian's keyring serves.
    let signed_by = option.or(field("Signed-By:")).filter(|key| key.starts_with('/'));
    let source = |uri: &&str| Source {
        uri: uri.to_string(),
        suite: suite.into(),
        signed_by: signed_by.map(str::to_string),
    };
    words.iter().filter(|word| word.contains(":/")).map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, signed_by: Option<&str>) -> Source {
        Source { uri: uri.into(), suite: suite.into(), signed_by: signed_by.map(str::to_string) }
    }

    #[test]
    fn deb822_sources_are_found_suite_by_suite() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By: /keys/debian.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\n\
                    Suites: bookworm-security\nComponents: main\n\nEnabled: no\nTypes: deb\n\
                    URIs: http://off.example\nSuites: bookworm\nComponents: main\n\n\
                    Types: deb-src\nURIs: http://mirror.example\nSuites: bookworm\n\
                    Components: main\n";
        let main = source("http://mirror.example/debian", "bookworm", Some("/keys/debian.gpg"));
        let security = source("http://mirror.example/security", "bookworm-security", None);
        assert_eq!(parse(text, true, "bookworm"), [main]);
        assert_eq!(parse(text, true, "bookworm-security"), [security]);
        assert_eq!(parse(text, true, "trixie"), []);
    }

    #[test]
    fn an_embedded_key_is_not_taken_for_a_file() {
        let text = "Types: deb\nURIs: http://mirror.example\nSuites: bookworm\nComponents:\n main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let expected = source("http://mirror.example", "bookworm", None);
        assert_eq!(parse(text, true, "bookworm"), [expected]);
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://off.example bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/a.gpg] http://a.example bookworm main contrib\n\
                    deb-src http://b.example bookworm main\n\
                    deb http://c.example bookworm non-free\ndeb\thttp://d.example bookworm main # \
                    x\n";
        let sources = parse(text, false, "bookworm");
        let with_key = source("http://a.example", "bookworm", Some("/keys/a.gpg"));
        assert_eq!(sources, [with_key, source("http://d.example", "bookworm", None)]);
        let line = "deb [signed-by=/keys/a.gpg] http://a.example bookworm main\n";
        assert_eq!(sources[0].line(), line);
    }
}
