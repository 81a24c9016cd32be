//! What is published of the format says what the types say: `docs/answers.schema.json` and `docs/answers-keys.md`.
//!
//! `UPDATE_DOCS=1 cargo test -p xenolith-answers --test docs` renews both.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Map, Value};

const HEAD: &str = "\
# The keys of an answer file

Made from the types, as [answers.schema.json](answers.schema.json) is; what a file is for and how to write one stands in [answers.md](answers.md). \
`disks[]` is each entry of the list `disks`. A dash stands for a key that is not there unless somebody writes it; what that means, its \
meaning says. A key within a table is required only where the table is there.

| key | type | default | meaning |
| --- | --- | --- | --- |
";

/// Compares a file with what it should be, or makes it that.
fn is_published(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs_err::write(path, expected).unwrap();
    }
    assert!(
        fs_err::read_to_string(path).unwrap_or_default() == expected,
        "docs/{name} is not what the types give; renew it with \
         `UPDATE_DOCS=1 cargo test -p xenolith-answers --test docs`"
    );
}

#[test]
fn the_schema_is_the_published_one() {
    let schema = serde_json::to_string_pretty(&xenolith_answers::schema()).unwrap();
    is_published("answers.schema.json", &format!("{schema}\n"));
}

#[test]
fn the_table_of_keys_is_the_published_one() {
    is_published("answers-keys.md", &table());
}

#[test]
fn every_key_that_can_be_written_is_in_the_table() {
    let table = table();
    for key in
        ["version", "target.disks[].serial", "network.ipv4.address", "network.bond.members", "finish.then"]
    {
        assert!(table.contains(&format!("| `{key}` |")), "{key} is missing:\n{table}");
    }
    assert!(
        table.lines().skip(HEAD.lines().count()).all(|row| row.replace("\\|", "").matches('|').count() == 5)
    );
}

fn table() -> String {
    let schema = serde_json::to_value(xenolith_answers::schema()).unwrap();
    let mut keys = Keys { defs: schema["$defs"].as_object().unwrap().clone(), rows: HEAD.to_owned() };
    keys.table("", &schema);
    keys.rows
}

struct Keys {
    defs: Map<String, Value>,
    rows: String,
}

impl Keys {
    /// The rows of a table's keys, by name, each with those below it.
    fn table(&mut self, at: &str, table: &Value) {
        let Some(properties) = table["properties"].as_object() else { return };
        // Whether a map of serde_json is in order depends on the features of others.
        let mut properties: Vec<_> = properties.iter().collect();
        properties.sort_by_key(|(name, _)| *name);
        for (name, value) in properties {
            let key = format!("{at}{name}");
            let kinds = self.kinds(value);
            let words: Vec<&str> = kinds.iter().map(|kind| &*kind.name).collect();
            let is_required =
                table["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
            let default = match &value["default"] {
                _ if is_required => "required".to_owned(),
                Value::Null if value["type"] == "boolean" => "`false`".to_owned(),
                Value::Null | Value::Object(_) => "–".to_owned(),
                default => format!("`{default}`"),
            };
            let said = value["description"].as_str().unwrap_or_default().to_owned();
            let meanings = kinds.iter().filter_map(|kind| kind.meaning.clone());
            let meaning = [said].into_iter().chain(meanings).collect::<Vec<_>>().join(" ");
            let cells = [format!("`{key}`"), words.join(" or "), default, meaning];
            let cells = cells.map(|cell| {
                // Links of the types' own documentation lead nowhere here.
                cell.replace('\n', " ").replace('|', "\\|").replace("[`", "`").replace("`]", "`")
            });
            self.rows.push_str(&format!("| {} |\n", cells.join(" | ")));
            for kind in kinds {
                self.table(&format!("{key}{}.", kind.each), &kind.schema);
            }
        }
    }

    /// What a value may be: one kind, or several.
    fn kinds(&self, value: &Value) -> Vec<Kind> {
        if let Some(path) = value["$ref"].as_str() {
            return self.kinds(&self.defs[path.trim_start_matches("#/$defs/")]);
        }
        if let Some(any) = value["anyOf"].as_array().or(value["oneOf"].as_array()) {
            return any.iter().flat_map(|one| self.kinds(one)).collect();
        }
        let kind =
            |name: &str| Kind { name: name.to_owned(), meaning: None, each: "", schema: value.clone() };
        if let Some(word) = value["const"].as_str() {
            let meaning = value["description"].as_str().map(|said| format!("`{word}`: {said}"));
            return vec![Kind { meaning, ..kind(&format!("`\"{word}\"`")) }];
        }
        // Of a type and null, null is that the key is not there.
        let types = value["type"].as_array().map_or_else(|| vec![&value["type"]], |all| all.iter().collect());
        let one = types.into_iter().filter_map(Value::as_str).find(|name| *name != "null");
        match one {
            None => Vec::new(),
            Some("array") => {
                let each = self.kinds(&value["items"]);
                let names: Vec<&str> = each.iter().map(|kind| &*kind.name).collect();
                let meanings: Vec<String> = each.iter().filter_map(|kind| kind.meaning.clone()).collect();
                let meaning = (!meanings.is_empty()).then(|| meanings.join(" "));
                let schema = each.first().map_or(Value::Null, |kind| kind.schema.clone());
                vec![Kind { name: format!("list of {}", names.join(", ")), meaning, each: "[]", schema }]
            }
            Some("object") => vec![kind("table")],
            Some("string") => vec![kind("text")],
            Some("integer") => vec![kind("number")],
            Some("boolean") => vec![kind("true or false")],
            Some(other) => panic!("no word for {other}"),
        }
    }
}

/// One of the kinds of value that a key may have.
struct Kind {
    /// What it is called.
    name: String,
    /// What it means, if it is a word.
    meaning: Option<String>,
    /// What stands behind the key for what is in it.
    each: &'static str,
    /// Its own schema, for the keys in it.
    schema: Value,
}
