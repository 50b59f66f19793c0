//! The documents for programs and for people, of a gateway as people try it: under a validator and
//! in a browser.

use crate::support::client::{self, Client};
use crate::support::gateway::Gateway;

fn is_content(script: &str, gateway: &Gateway, more: &[&str]) {
    let mut command = client::script(script);
    command.arg(format!("http://{}", gateway.public())).args(more);
    let mut reader = Client::start(command);
    assert!(reader.succeeds(), "{script}: a document is not as it should be");
}

#[test]
fn the_openapi_document_is_valid_and_says_what_is_answered() {
    let gateway = Gateway::demo();
    is_content("spec.cjs", &gateway, &["recentchange", "revision-create", "page-create"]);
}

#[test]
fn the_documentation_is_for_everyone_in_light_and_dark() {
    let gateway = Gateway::demo();
    for colours in ["light", "dark"] {
        is_content("doc_axe.cjs", &gateway, &[colours]);
    }
}
