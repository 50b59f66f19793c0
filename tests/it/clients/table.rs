//! The table of clients in `docs/clients.md`, made of what their tests hold them to and of the lists
//! of versions that are installed.

use std::path::Path;

use crate::support::served::Refused;

const BEGINS: &str =
    "<!-- made by the tests: UPDATE_GOLDEN=1 cargo test --test it clients::table -->\n";
const ENDS: &str = "<!-- as far as here -->\n";

/// A client, and what its test asks of it.
pub struct Known {
    /// Its name there, and from where it is.
    pub title: &'static str,
    version: Version,
    pub script: &'static str,
    /// What it does after a cut.
    resumes: &'static str,
    pub refused: Refused,
    mind: &'static str,
}

/// Which one it is.
enum Version {
    /// As a file in `tests/clients/` says it, behind these words.
    Listed(&'static str, &'static str),
    Is(&'static str),
}

const PIP: &str = "requirements.txt";
const NPM: &str = "package.json";
const CRATES: &str = "eventsource_client_rs/Cargo.toml";
const BY_ITSELF: &str = "by itself";
const ITS_USER: &str = "its user does";

/// All clients that are read through everything.
#[rustfmt::skip]
pub fn known() -> Vec<Known> {
    use Refused::{ComesAgain, GivesUp};
    use Version::{Is, Listed};
    let known = |title, version, script, resumes, refused, mind| {
        Known { title, version, script, resumes, refused, mind }
    };
    vec![
        known("`tidegate tail`", Is("this one"), "tail.sh", BY_ITSELF, ComesAgain, "[all of it](tail.md)"),
        known("curl", Is("Debian's"), "curl.sh", ITS_USER, ComesAgain, "[the shell keeps the id](#curl)"),
        known("requests-sse (PyPI)", Listed(PIP, "requests-sse=="), "requests_client.py", BY_ITSELF, GivesUp,
            "waits twice what `retry:` says, 10 s when a connection ended before its first event"),
        known("pywikibot `EventStreams`", Listed(PIP, "pywikibot=="), "pywikibot_client.py", BY_ITSELF, GivesUp,
            "uses requests-sse; with `url=` and `site=` it asks no wiki"),
        known("sseclient (PyPI)", Listed("requirements-sseclient.txt", "sseclient=="), "sseclient_client.py", BY_ITSELF, GivesUp,
            "after a cut an event without data comes: pass over what is no JSON"),
        known("sseclient-py (PyPI)", Listed(PIP, "sseclient-py=="), "sseclient_py_client.py", ITS_USER, ComesAgain,
            "the same module name as sseclient: only one of them fits an environment"),
        known("httpx-sse (PyPI)", Listed(PIP, "httpx-sse=="), "httpx_client.py", ITS_USER, ComesAgain,
            "an event may have no data; its read timeout has to be above the keepalive; what is no stream raises `SSEError`"),
        known("aiohttp-sse-client (PyPI)", Listed(PIP, "aiohttp-sse-client=="), "aiohttp_client.py", "only after a whole end", ComesAgain,
            "raises after a cut; aiohttp ends a request after 5 min unless told otherwise, and refuses lines above 512 KB unless `read_bufsize` is raised"),
        known("eventsource (npm)", Listed(NPM, "\"eventsource4\": \"npm:eventsource@"), "eventsource4.cjs", BY_ITSELF, ComesAgain,
            "is refused as a browser is, with an event, and comes again"),
        known("eventsource (npm)", Listed(NPM, "\"eventsource2\": \"npm:eventsource@"), "eventsource2_exact.cjs", BY_ITSELF, ComesAgain,
            "[loses an event that is cut in half](#eventsource-2), by its own fault"),
        known("eventsource-client (npm)", Listed(NPM, "\"eventsource-client\": \""), "eventsource_client.cjs", BY_ITSELF, ComesAgain,
            "is refused as a browser is"),
        known("eventsource-client (crates.io)", Listed(CRATES, "eventsource-client = { version = \"="), "eventsource-client-reader.rs", BY_ITSELF, ComesAgain,
            "says each end and each cut as an error; read on after it"),
        known("reqwest-eventsource (crates.io)", Listed(CRATES, "reqwest-eventsource = \"="), "reqwest-eventsource-reader.rs", BY_ITSELF, GivesUp,
            "sends an empty id before the first, which counts as none; says ends as errors, read on"),
        known("wikimedia-streams (npm)", Listed(NPM, "\"wikimedia-streams\": \""), "wikimedia_streams.cjs", BY_ITSELF, ComesAgain,
            "`proxy` is the gateway's address; says each cut as an `error` that has to be listened to"),
    ]
}

fn clients_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn version(known: &Known) -> String {
    let (file, before) = match known.version {
        Version::Listed(file, before) => (file, before),
        Version::Is(version) => return version.to_owned(),
    };
    let text = std::fs::read_to_string(clients_folder().join(file)).expect("a list");
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(before));
    let line = line.unwrap_or_else(|| panic!("{before} is not in {file}"));
    let is_version = |c: char| c.is_ascii_alphanumeric() || c == '.';
    line.split(|c| !is_version(c)).next().unwrap_or_default().to_owned()
}

fn table() -> String {
    let mut table = "| client | version | goes on after a cut or a drain | after a 503, a 429 | what to mind |\n\
                     |---|---|---|---|---|\n"
        .to_owned();
    for known in known() {
        let version = version(&known);
        let refused = match known.refused {
            Refused::ComesAgain => "comes again",
            Refused::GivesUp => "gives up",
        };
        let Known { title, resumes, mind, .. } = known;
        table += &format!("| {title} | {version} | {resumes} | {refused} | {mind} |\n");
    }
    table
}

#[test]
fn the_table_of_clients_is_what_they_are_held_to() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md");
    let text = std::fs::read_to_string(&file).expect("the document");
    let (head, rest) = text.split_once(BEGINS).expect("where the table begins");
    let (golden, tail) = rest.split_once(ENDS).expect("where it ends");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let new = format!("{head}{BEGINS}{table}{ENDS}{tail}");
        std::fs::write(&file, new).expect("write the golden file");
        return;
    }
    assert_eq!(
        golden, table,
        "if this is meant: UPDATE_GOLDEN=1 cargo test --test it clients::table"
    );
}
