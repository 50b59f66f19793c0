//! What people write in the demo: titles, edit summaries, and the HTML that a wiki makes of them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::language::Language;

/// What a wiki leaves as it is in the path of a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'*')
    .remove(b'(')
    .remove(b')')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'@')
    .remove(b'$')
    .remove(b'~');

/// Properties of items, with what they mean and an item or a text that they often have.
const PROPERTIES: [(&str, &str, &str, &str, &str); 8] = [
    ("P31", "instance of", "type to which this subject belongs", "Q5", "human"),
    ("P17", "country", "sovereign state that this subject is in", "Q142", "France"),
    ("P106", "occupation", "occupation of a person", "Q1028181", "painter"),
    ("P21", "sex or gender", "sex or gender identity of the subject", "Q6581072", "female"),
    (
        "P131",
        "located in the administrative territorial entity",
        "the smallest one",
        "Q64",
        "Berlin",
    ),
    ("P407", "language of work or name", "language associated with this work", "Q1860", "English"),
    ("P1433", "published in", "larger work that a work was published in", "Q180445", "Nature"),
    ("P20", "place of death", "most specific known location of a death", "Q220", "Rome"),
];

/// An edit summary, as it is written and as the wiki shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) text: String,
    pub(super) html: String,
}

fn one<'a>(words: &[&'a str], rng: &mut StdRng) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}

/// A title as articles have it.
pub(super) fn title(language: &Language, rng: &mut StdRng) -> String {
    let pattern = one(language.titles, rng);
    let between = if matches!(language.code, "ja" | "zh") { "" } else { " " };
    let person = format!("{}{between}{}", one(language.given, rng), one(language.family, rng));
    let year = rng.random_range(1850..2026).to_string();
    let place = one(language.places, rng);
    pattern.replace("{p}", place).replace("{n}", &person).replace("{y}", &year)
}

/// A single word, as dictionaries have it.
pub(super) fn word(language: &Language, rng: &mut StdRng) -> String {
    let words = [one(language.nicks, rng), one(language.places, rng), one(language.family, rng)];
    one(&words, rng).to_lowercase()
}

/// The name of a photograph.
pub(super) fn file(language: &Language, rng: &mut StdRng) -> String {
    let subject = title(language, rng).replace(['(', ')'], "");
    let (n, year) = (rng.random_range(1..400), rng.random_range(2005..2026));
    match rng.random_range(0..4) {
        0 => format!("File:{subject} - {year} - {n}.jpg"),
        1 => format!("File:{subject} ({n}).jpg"),
        2 => format!("File:{} {year}-07-{:02}.png", one(language.places, rng), 1 + n % 31),
        _ => format!("File:{subject}, {year}.svg"),
    }
}

/// What somebody says of an edit of a page in that language; often in a section, at times nothing.
pub(super) fn summary(language: &Language, title: &str, rng: &mut StdRng) -> Comment {
    let section = rng.random_bool(0.45).then(|| one(language.sections, rng));
    let remark = if rng.random_bool(0.8) { one(language.remarks, rng) } else { "" };
    let text = match section {
        Some(section) => format!("/* {section} */ {remark}").trim_end().to_owned(),
        None => remark.to_owned(),
    };
    Comment { html: rendered(&text, title), text }
}

/// What is said of taking an edit back.
pub(super) fn undone(rev: u64, whose: &str, title: &str) -> Comment {
    let text = format!(
        "Undid revision [[Special:Diff/{rev}|{rev}]] by [[Special:Contributions/{whose}|{whose}]] \
         ([[User talk:{whose}|talk]])"
    );
    Comment { html: rendered(&text, title), text }
}

/// What the software says of an edit of an item.
pub(super) fn claim(language: &Language, rng: &mut StdRng) -> Comment {
    let auto = |code: &str, what: &str, text: &str, html: &str| Comment {
        text: format!("/* {code} */ {text}"),
        html: format!(
            "<span dir=\"auto\"><span class=\"autocomment\">{what}: </span></span> {html}"
        ),
    };
    let (code, title) = (language.code, title(language, rng));
    match rng.random_range(0..10) {
        0 => auto(
            &format!("wbsetlabel-add:1|{code}"),
            &format!("Added [{code}] label"),
            &title,
            &escaped(&title),
        ),
        1 => auto(
            &format!("wbsetsitelink-add:1|{code}wiki"),
            &format!("Added a sitelink: [{code}wiki]"),
            &title,
            &escaped(&title),
        ),
        2 => auto(
            &format!("wbsetdescription-set:1|{code}"),
            &format!("Changed [{code}] description"),
            &title,
            &escaped(&title),
        ),
        roll => {
            let (p, name, about, q, value) = PROPERTIES[rng.random_range(0..PROPERTIES.len())];
            let (key, what) = match roll {
                3..=6 => ("wbsetclaim-create:2||1", "Created claim"),
                7 => ("wbsetclaim-update:2||1|1", "Changed a claim"),
                8 => ("wbsetreference-add:2|", "Added reference to claim"),
                _ => ("wbremoveclaims-remove:1|", "Removed claim"),
            };
            let batch = if rng.random_bool(0.3) {
                format!(", [[:toollabs:quickstatements/#/batch/{n}|batch #{n}]]", n = 250_000)
            } else {
                String::new()
            };
            let text = format!("[[Property:{p}]]: [[{q}]]{batch}");
            let property = item_link(&format!("Property:{p}"), p, name, about);
            let html = format!("{property}: {}{}", item_link(q, q, value, ""), escaped(&batch));
            auto(key, what, &text, &html)
        }
    }
}

fn item_link(path: &str, id: &str, label: &str, about: &str) -> String {
    let title = if about.is_empty() { label.to_owned() } else { format!("{label} | {about}") };
    format!(
        "<a href=\"/wiki/{path}\" title=\"{title}\"><span class=\"wb-itemlink\">\
         <span class=\"wb-itemlink-label\" lang=\"en\" dir=\"ltr\">{label}</span> \
         <span class=\"wb-itemlink-id\">({id})</span></span></a>"
    )
}

/// What is said of a page that joined or left a category.
pub(super) fn categorized(language: &Language, page: &str, joined: bool) -> Comment {
    let text = language.category[usize::from(!joined)].replace("{}", page);
    Comment { html: rendered(&text, page), text }
}

/// What the wiki shows of a summary: the section as an arrow to it, links as links.
pub(super) fn rendered(text: &str, title: &str) -> String {
    let Some((section, rest)) = text.strip_prefix("/* ").and_then(|t| t.split_once(" */")) else {
        return links(text);
    };
    let path = path(title);
    let anchor = escaped(&section.replace(' ', "_"));
    format!(
        "<span dir=\"auto\"><span class=\"autocomment\"><a href=\"/wiki/{path}#{anchor}\" \
         title=\"{}\">→{}</a>: </span> {}</span>",
        escaped(title),
        escaped(section),
        links(rest.trim_start())
    )
}

fn links(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[[") {
        let Some((inside, behind)) = after.split_once("]]") else { break };
        let (target, label) = inside.split_once('|').unwrap_or((inside, inside));
        let (target, label) = (target.trim_start_matches(':'), label.trim_start_matches(':'));
        html.push_str(&escaped(before));
        html.push_str(&format!(
            "<a href=\"/wiki/{}\" title=\"{}\">{}</a>",
            path(target),
            escaped(target),
            escaped(label)
        ));
        rest = behind;
    }
    html + &escaped(rest)
}

/// A title as it stands in a URL.
pub(super) fn path(title: &str) -> String {
    utf8_percent_encode(&title.replace(' ', "_"), PATH).to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_links_of_a_summary_become_html() {
        assert_eq!(rendered("a <b> & \"c\"", "T"), "a &lt;b&gt; &amp; &quot;c&quot;");
        let link = "<a href=\"/wiki/File:A_%C3%A9.jpg\" title=\"File:A é.jpg\">File:A é.jpg</a> x";
        assert_eq!(rendered("[[:File:A é.jpg]] x", "T"), link);
        let section = rendered("/* See also */ [[A|b]]", "A B");
        assert!(section.contains("<a href=\"/wiki/A_B#See_also\" title=\"A B\">→See also</a>"));
        assert!(section.ends_with("<a href=\"/wiki/A\" title=\"A\">b</a></span>"));
        assert_eq!(rendered("[[open", "T"), "[[open");
    }
}
