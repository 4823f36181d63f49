//! Every file of every corpus goes through its target; each corpus is there and not empty.

use std::fs;
use std::path::Path;

use fuzz_targets::TARGETS;

#[test]
fn the_corpora_are_replayed() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = corpora.join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut replayed = 0;
        for file in files {
            let path = file.expect("an entry of the folder").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("a file of the corpus"));
            replayed += 1;
        }
        assert!(replayed > 0, "{name}: the corpus is empty");
    }
}

#[test]
fn every_corpus_has_a_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut found: Vec<String> = fs::read_dir(corpora)
        .expect("the corpora")
        .map(|folder| folder.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, TARGETS.map(|(name, _)| name));
}
