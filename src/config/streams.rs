//! `[streams.NAME]`: what there is to read.

use std::collections::HashMap;
use std::sync::Arc;

use toml::Table;

use super::SchemasConfig;
use super::reader::{Findings, Section};
use crate::catalog::{NOT_IN_NAMES, Stream};
use crate::event::TopicName;

/// All streams, each name of which is one stream's.
pub(super) fn read(
    table: Option<&Table>,
    schemas: &mut SchemasConfig,
    found: &mut Findings,
) -> Vec<Stream> {
    let mut all = Vec::new();
    let mut taken: HashMap<Arc<str>, String> = HashMap::new();
    for (name, value) in table.into_iter().flatten() {
        let path = format!("streams.{name}");
        let Some(table) = value.as_table() else {
            found.add(path, "a table is accepted: [streams.NAME]");
            continue;
        };
        let mut section = Section::new(&path, Some(table));
        let stream = stream(name, &mut section, found);
        schemas.read_file_of(name, &mut section, found);
        section.finish(found);
        for any_name in stream.aliases.iter().chain([&stream.name]) {
            if any_name.is_empty() || any_name.contains(NOT_IN_NAMES) {
                found.add(&path, format!("\"{any_name}\" is no name: , / % ? # cannot be in it"));
            }
            if let Some(other) = taken.insert(Arc::clone(any_name), path.clone()) {
                found.add(&path, format!("the name \"{any_name}\" is {other}'s already"));
            }
        }
        all.push(stream);
    }
    all
}

fn stream(name: &str, section: &mut Section<'_>, found: &mut Findings) -> Stream {
    let mut topics: Vec<TopicName> = Vec::new();
    let listed = section.list("topics", found);
    for text in &listed {
        match TopicName::new(text) {
            Ok(topic) if topics.contains(&topic) => {
                found.add(section.key("topics"), format!("\"{topic}\" is named twice"));
            }
            Ok(topic) => topics.push(topic),
            Err(error) => found.add(section.key("topics"), error.to_string()),
        }
    }
    if listed.is_empty() {
        found.add(section.key("topics"), "names no topic; a list of topics is accepted");
    }
    let aliases = section.list("aliases", found).into_iter().map(Arc::from).collect();
    let description = section.text("description", found).unwrap_or_default().to_owned();
    let uri = section.text("schema", found);
    let title = section.text("schema_title", found);
    let schema = uri.or(title).map(str::to_owned);
    let produce_to = section.text("produce_to", found).and_then(|text| {
        let topic = topics.iter().find(|t| t.as_str() == text).cloned();
        if topic.is_none() {
            let says = format!("found \"{text}\"; one of the stream's topics is accepted");
            found.add(section.key("produce_to"), says);
        }
        topic
    });
    let (name, topics_allowed) = (name.into(), Vec::new());
    Stream { name, topics, topics_allowed, aliases, description, schema, produce_to }
}
