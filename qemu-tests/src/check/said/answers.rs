//! Answers of crashinfo (`--json`) as tables.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::check::said::table::{Row, Table};

/// The objects of the list at `place` of an answer, as rows: `key` names the members that their key
/// is made of, with spaces between, and `members` the fields: name, and name of the member.
///
/// # Errors
/// There is no such list, or an object has no key.
pub fn rows(answer: &Value, place: &str, key: &[&str], members: &[(&str, &str)]) -> Result<Table> {
    let list = answer.pointer(place).and_then(Value::as_array);
    let list = list.with_context(|| format!("the answer has no list {place}: {answer}"))?;
    let object = |object: &Value| {
        let text = |member: &str| object.get(member).and_then(text);
        let key: Option<Vec<_>> = key.iter().map(|member| text(member)).collect();
        let key = key.with_context(|| format!("without a key: {object}"))?.join(" ");
        let fields =
            members.iter().filter_map(|(name, member)| Some(((*name).to_string(), text(member)?)));
        Ok((key, fields.collect::<Row>()))
    };
    list.iter().map(object).collect()
}

/// The members of the object at `place` of an answer: a row each, with `value`.
///
/// # Errors
/// There is no such object.
pub fn values(answer: &Value, place: &str) -> Result<Table> {
    let object = answer.pointer(place).and_then(Value::as_object);
    let object = object.with_context(|| format!("the answer has no object {place}: {answer}"))?;
    let member = |(name, value): (&String, &Value)| {
        Some((name.clone(), Row::from([("value".to_string(), text(value)?)])))
    };
    Ok(object.iter().filter_map(member).collect())
}

/// A number or a text as a text, a list as texts with commas between.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let texts: Option<Vec<_>> = list.iter().map(text).collect();
            Some(texts?.join(","))
        }
        other => Some(other.to_string()),
    }
}

/// An address without `0x` and without zeros in front.
pub fn address(text: &str) -> &str {
    text.trim_start_matches("0x").trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_become_rows() {
        let answer = r#"{"data": {"zones": [{"node": 0, "name": "DMA", "free": 7, "lists": [1, 2],
            "other": null}], "all": {"MemFree": 5}}}"#;
        let answer: Value = serde_json::from_str(answer).unwrap();
        let members = [("free", "free"), ("blocks", "lists"), ("none", "other")];
        let table = rows(&answer, "/data/zones", &["node", "name"], &members).unwrap();
        let row = &table["0 DMA"];
        assert_eq!((row["free"].as_str(), row["blocks"].as_str(), row.len()), ("7", "1,2", 2));
        assert_eq!(address("0x00c0ffee"), "c0ffee");
        assert!(rows(&answer, "/data/zones", &["other"], &members).is_err());
        assert!(rows(&answer, "/data/all", &["node"], &members).is_err());
        assert_eq!(values(&answer, "/data/all").unwrap()["MemFree"]["value"], "5");
    }
}
