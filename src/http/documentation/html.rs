//! Parts of the page, made of the OpenAPI document. Every text is escaped on its way in.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// Fields of a schema that are shown, and how deep they may lie.
const FIELDS_MAX: usize = 400;
const DEPTH_MAX: usize = 8;
const STREAM: &str = "/v2/stream/";

pub(super) const LIVE: &str = "<a class=\"quiet\" href=\"/v2/ui/\">Live page</a>";

/// A text as it stands in HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The same, with what stands between backticks as code and empty lines as new ones.
fn prose(text: &str) -> String {
    let text = escaped(text.trim());
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    parts.collect::<String>().replace("\n\n", "<br>")
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// A text to be copied; it can be scrolled with the keys.
fn block(text: &str) -> String {
    format!("<pre tabindex=\"0\">{}</pre>", escaped(text))
}

fn fact(name: &str, value: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{value}</dd></div>")
}

/// A table that can be scrolled with the keys where it is wider than the page.
fn table(name: &str, columns: &[&str], rows: &str) -> String {
    let head = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>"));
    let head: String = head.collect();
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table><thead>\
         <tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn members(of: &Value) -> impl Iterator<Item = (&String, &Value)> {
    of.as_object().into_iter().flat_map(Map::iter)
}

fn texts(of: &Value) -> impl Iterator<Item = &str> {
    of.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// What a local reference leads to; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let to = value["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    to.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// Each path of one stream: its name in the path, and what it takes.
fn paths(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    members(&document["paths"]).filter_map(|(path, item)| {
        let name = path.strip_prefix(STREAM).filter(|name| *name != "{streams}")?;
        Some((name, &item["get"]))
    })
}

/// Those under the streams' own names.
fn own(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    paths(document).filter(|(_, get)| get.get("x-alias-of").is_none())
}

/// A stream's name as it is called, not as it stands in the path.
fn name(get: &Value) -> &str {
    text(get, "operationId").trim_start_matches("read:")
}

/// The streams in the list at the side.
pub(super) fn names(document: &Value) -> String {
    let item =
        |(path, get)| format!("<li><a href=\"#stream-{path}\">{}</a></li>\n", escaped(name(get)));
    own(document).map(item).collect()
}

/// One stream, and two as one, as they stand in a path.
pub(super) fn examples(document: &Value) -> (String, String) {
    let mut names = own(document).map(|(path, _)| path);
    let one = names.next().unwrap_or("NAME");
    (one.to_owned(), format!("{one},{}", names.next().unwrap_or(one)))
}

pub(super) fn link_to_intake(document: &Value) -> String {
    match document["paths"]["/v1/events"].is_null() {
        true => String::new(),
        false => "<li><a href=\"#intake\">Sending events</a></li>\n".to_owned(),
    }
}

/// Each stream, to be opened. `live`: there is a page to watch it on.
pub(super) fn streams(document: &Value, live: bool) -> String {
    own(document).map(|(path, get)| stream(document, path, get, live)).collect()
}

fn stream(document: &Value, path: &str, get: &Value, live: bool) -> String {
    let (name, description) = (name(get), text(get, "description"));
    let codes = |all: Vec<&str>| all.into_iter().map(code).collect::<Vec<_>>().join(" ");
    let aliases = paths(document).filter(|(_, get)| text(get, "x-alias-of") == name);
    let aliases: Vec<&str> = aliases.map(|(path, _)| path).collect();
    let mut facts = fact("Topics", &codes(texts(&get["x-topics"]).collect()));
    if !aliases.is_empty() {
        facts += &fact("Other names", &codes(aliases));
    }
    let event = &get["responses"]["200"]["content"]["application/json"];
    match (text(&event["schema"]["allOf"][0], "$ref").rsplit_once('/'), get["x-schema"].as_str()) {
        (Some((_, key)), _) => {
            let key = escaped(key);
            let link = format!("<a href=\"#schema-{key}\"><code>{key}</code></a>");
            facts += &fact("Fields", &link);
        }
        (None, Some(schema)) => facts += &fact("Schema", &code(schema)),
        (None, None) => {}
    }
    let watch = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let watch = match live {
        true => format!("<p><a href=\"/v2/ui/#{watch}\">Watch it live</a></p>\n"),
        false => String::new(),
    };
    format!(
        "<details class=\"stream\" id=\"stream-{path}\" data-find=\"{find}\">\
         <summary><h3>{shown}</h3> <span>{says}</span></summary>\n{watch}{curl}\n\
         <dl>{facts}</dl>\n<details><summary>An event</summary>{example}</details></details>\n",
        find = escaped(&format!("{name} {description}").to_lowercase()),
        shown = escaped(name),
        says = prose(description),
        curl = block(&format!("curl -N THIS.HOST{STREAM}{path}")),
        example = block(&pretty(&event["example"])),
    )
}

/// What every stream can be asked with.
pub(super) fn parameters(document: &Value) -> String {
    let rows: String =
        members(&document["components"]["parameters"]).map(|(_, one)| parameter(one)).collect();
    table("Parameters", &["Name", "In", "Takes", "Does"], &rows)
}

fn parameter(one: &Value) -> String {
    let words: Vec<String> = texts(&one["schema"]["enum"]).map(code).collect();
    let takes = if words.is_empty() { kind(&one["schema"]) } else { words.join(" ") };
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{takes}</td><td>{}</td></tr>\n",
        escaped(text(one, "name")),
        escaped(text(one, "in")),
        prose(text(one, "description")),
    )
}

/// What a stream answers besides events.
pub(super) fn answers(document: &Value) -> String {
    let responses = &document["paths"]["/v2/stream/{streams}"]["get"]["responses"];
    let errors = members(responses).filter(|(status, _)| *status != "200");
    let rows: String = errors.map(|(status, one)| answer(document, status, one)).collect();
    table("Errors", &["Status", "Means"], &rows)
}

fn answer(document: &Value, status: &str, one: &Value) -> String {
    let one = resolved(document, one);
    let mut row = format!("<tr><th scope=\"row\">{status}</th><td>");
    row += &prose(text(one, "description"));
    let examples = members(&one["content"]).flat_map(|(_, content)| members(&content["examples"]));
    for (_, example) in examples {
        let titles = [text(example, "summary"), text(&example["value"], "title"), "An example"];
        let title = titles.into_iter().find(|title| !title.is_empty()).unwrap_or_default();
        let (title, json) = (escaped(title), block(&pretty(&example["value"])));
        row += &format!("<details><summary>{title}</summary>{json}</details>");
    }
    row + "</td></tr>\n"
}

/// The fields of every schema that the streams have.
pub(super) fn schemas(document: &Value) -> String {
    let all = members(&document["components"]["schemas"]).filter(|(key, _)| *key != "Problem");
    let shown = all.map(|(key, schema)| {
        let mut fields = Fields { document, rows: String::new(), left: FIELDS_MAX };
        fields.of(schema, "", 0);
        let key = escaped(key);
        format!(
            "<details class=\"schema\" id=\"schema-{key}\"><summary><h3>{key}</h3> \
             <span>{}</span></summary>\n{}</details>\n",
            prose(text(schema, "description")),
            table(&format!("Fields of {key}"), &["Field", "Is", "Says"], &fields.rows),
        )
    });
    shown.collect()
}

/// Rows of a table, a field each.
struct Fields<'a> {
    document: &'a Value,
    rows: String,
    left: usize,
}

impl<'a> Fields<'a> {
    fn of(&mut self, schema: &'a Value, at: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let schema = resolved(self.document, schema);
        for (name, field) in members(&schema["properties"]) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let field = resolved(self.document, field);
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let always = texts(&schema["required"]).any(|must| must == name);
            self.rows += &format!(
                "<tr><th scope=\"row\"><code>{}</code>{}</th><td>{}</td><td>{}</td></tr>\n",
                escaped(&path),
                if always { " <small>always</small>" } else { "" },
                kind(field),
                prose(text(field, "description")),
            );
            self.of(field, &path, depth + 1);
            self.of(&field["items"], &format!("{path}[]"), depth + 1);
        }
        for part in ["allOf", "anyOf", "oneOf"] {
            for part in schema[part].as_array().into_iter().flatten() {
                self.of(part, at, depth + 1);
            }
        }
    }
}

/// A schema's type in words.
fn kind(schema: &Value) -> String {
    let all: Vec<&str> = texts(&schema["type"]).collect();
    let kind = match (&schema["type"], all.is_empty()) {
        (Value::String(one), _) => one.clone(),
        (_, false) => all.join(" or "),
        _ => "anything".to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => escaped(&format!("{kind}, {format}")),
        None => escaped(&kind),
    }
}

/// How events are sent, where that is allowed.
pub(super) fn intake(document: &Value) -> String {
    let post = &document["paths"]["/v1/events"]["post"];
    if post.is_null() {
        return String::new();
    }
    let curl = "curl THIS.HOST/v1/events -H 'content-type: application/json' \\\n     \
                -d '{\"meta\":{\"stream\":\"NAME\"},\"a\":1}'";
    let parameters = post["parameters"].as_array().into_iter().flatten();
    let parameters: String = parameters.map(parameter).collect();
    let answers = members(&post["responses"]);
    let answers: String = answers.map(|(status, one)| answer(document, status, one)).collect();
    let parameters =
        table("Parameters of the intake", &["Name", "In", "Takes", "Does"], &parameters);
    let answers = table("Answers of the intake", &["Status", "Means"], &answers);
    format!(
        "<section id=\"intake\"><h2>Sending events</h2>\n<p>{}</p>\n{}\n{parameters}<br>\n{answers}\
         </section>",
        prose(text(post, "description")),
        block(curl),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_operators_write_cannot_become_markup() {
        assert_eq!(escaped("<a href='x\"&'>"), "&lt;a href=&#39;x&quot;&amp;&#39;&gt;");
        assert_eq!(prose("a `<b>` c\n\nd"), "a <code>&lt;b&gt;</code> c<br>d");
        let get = json!({ "operationId": "read:<x>", "description": "<y>", "x-topics": ["<z>"] });
        let document = json!({ "paths": { "/v2/stream/%3Cx%3E": { "get": get } } });
        let shown = streams(&document, true) + &names(&document);
        for tag in ["<x>", "<y>", "<z>"] {
            assert!(!shown.contains(tag) && shown.contains(&escaped(tag)), "{shown}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_has_an_end() {
        let again = json!({ "$ref": "#/components/schemas/a" });
        let of = json!({ "properties": { "x": again, "y": again, "z": { "items": again } } });
        let document = json!({ "components": { "schemas": { "a": of } } });
        let rows = schemas(&document).matches("<tr>").count();
        assert!((50..=FIELDS_MAX + 1).contains(&rows), "{rows}");
    }
}
