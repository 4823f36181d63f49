//! Mirrors that Debian's packages come from: those that this host's own apt sources name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::entries;

/// The release whose packages we use: the last one with an i386 kernel (6.1).
pub(crate) const RELEASE: &str = "bookworm";
/// Its security updates, which have an archive of their own.
pub(crate) const SECURITY: &str = "bookworm-security";
/// The keys of the Debian archive on a Debian host.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The main section of one suite at one mirror.
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
pub(crate) fn named_by_host(mirror: Option<&str>, suites: &[&str]) -> Result<Vec<Source>> {
    let mut found = match mirror {
        Some(uri) => vec![Source { uri: uri.into(), suite: RELEASE.into(), signed_by: None }],
        None => sources_of_host(suites)?,
    };
    let keyring = Path::new(KEYRING).is_file().then(|| KEYRING.to_string());
    for source in &mut found {
        source.signed_by = source.signed_by.take().or_else(|| keyring.clone());
    }
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
/// As [`named_by_host`].
pub(crate) fn of_release(mirror: Option<&str>, suites: &[&str]) -> Result<Vec<Source>> {
    let own = named_by_host(mirror, &[RELEASE])?;
    let of_suite = |suite: &&str| {
        let suite = suite.to_string();
        own.iter().map(move |source| Source { suite: suite.clone(), ..source.clone() })
    };
    Ok(suites.iter().flat_map(of_suite).collect())
}

fn sources_of_host(suites: &[&str]) -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(entries(Path::new("/etc/apt/sources.list.d"), "", ".sources")?);
    files.extend(entries(Path::new("/etc/apt/sources.list.d"), "", ".list")?);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = fs::read_to_string(file)
            .with_context(|| format!("reading the apt source {}", file.display()))?;
        let is_deb822 = file.extension().is_some_and(|kind| kind == "sources");
        found.extend(parse(&text, is_deb822, suites));
    }
    found.dedup();
    Ok(found)
}

/// The main sections of `suites` in a file of either format of sources.list(5).
fn parse(text: &str, is_deb822: bool, suites: &[&str]) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    if !is_deb822 {
        return lines.iter().flat_map(|line| parse_entry(line, suites)).collect();
    }
    let stanzas = lines.split(|line| line.trim().is_empty());
    stanzas.flat_map(|stanza| parse_entry(&stanza.join("\n"), suites)).collect()
}

/// The main sections of `suites` in one line or one stanza. Both are words: `deb`, an address, a
/// suite and `main` in this order or after the names of their fields.
fn parse_entry(entry: &str, suites: &[&str]) -> Vec<Source> {
    let lines = entry.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(|line| line.split([' ', '\t', '[', ']'])).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let field = |name: &str| {
        let at = words.iter().position(|word| word.eq_ignore_ascii_case(name))?;
        words.get(at + 1).copied()
    };
    let is_off = matches!(field("Enabled:"), Some("no" | "false" | "0"));
    if is_off || !words.contains(&"deb") || !words.contains(&"main") {
        return Vec::new();
    }
    let option = words.iter().find_map(|word| word.strip_prefix("signed-by="));
    // A key block may stand here instead of a file's name; then Debian's keyring serves.
    let signed_by = option.or(field("Signed-By:")).filter(|key| key.starts_with('/'));
    let uris = words.iter().filter(|word| word.contains(":/"));
    let found = uris.flat_map(|uri| {
        let named = suites.iter().filter(|suite| words.contains(suite));
        named.map(move |suite| (uri.to_string(), suite.to_string()))
    });
    let signed_by = signed_by.map(str::to_string);
    found.map(|(uri, suite)| Source { uri, suite, signed_by: signed_by.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(parse(text, true, &[RELEASE]), std::slice::from_ref(&main));
        assert_eq!(parse(text, true, &[RELEASE, SECURITY]), [main, security]);
    }

    #[test]
    fn an_embedded_key_is_not_taken_for_a_file() {
        let text = "Types: deb\nURIs: http://mirror.example\nSuites: bookworm\nComponents:\n main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let sources = parse(text, true, &[RELEASE]);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].line(), "deb http://mirror.example bookworm main\n");
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://off.example bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/a.gpg] http://a.example bookworm main contrib\n\
                    deb-src http://b.example bookworm main\n\
                    deb http://c.example bookworm non-free\ndeb\thttp://d.example bookworm main # x\n";
        let sources = parse(text, false, &[RELEASE]);
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].line(),
            "deb [signed-by=/keys/a.gpg] http://a.example bookworm main\n"
        );
        assert_eq!(sources[1].line(), "deb http://d.example bookworm main\n");
    }
}
