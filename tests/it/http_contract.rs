//! The wire contract as far as the front makes it: routes, errors, CORS, request heads, and how
//! connections and streams begin and end. Spoken over raw sockets, since a client library would
//! correct what is to be tested.

use std::sync::Arc;
use std::time::Duration;

use tidegate::http::Settings;
use tidegate::metrics::Metrics;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use self::harness::{PATIENCE, Server, front, front_with};

mod admin;
mod blocks;
mod books;
mod connections;
mod encodings;
mod gate;
mod harness;
mod http2;
mod streams;
mod tls;

// Errors ------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_unknown_stream_is_a_400_that_names_all_that_are_unknown() {
    let server = Server::front();
    let reply = server.get("/v2/stream/x,recentchange,y?since=nonsense").await;
    let problem = reply.problem(400, "not_found");
    assert_eq!(reply.line, "HTTP/1.1 400 Bad Request");
    assert_eq!(problem["title"], "Stream Not Found");
    assert_eq!(problem["detail"], "Invalid streams: x,y");
    assert_eq!(problem["method"], "GET");
    assert_eq!(problem["uri"], "/v2/stream/x,recentchange,y?since=nonsense");
    // Fields stand in the order of the reference.
    assert!(reply.text().starts_with(r#"{"status":400,"type":"not_found","title":"#));
}

#[tokio::test]
async fn names_are_exact_and_the_path_around_them_is_not() {
    let server = Server::front();
    server.get("/v2/stream/page-create").await.problem(400, "not_found");
    // Known names come as far as the source, which cannot be reached.
    for path in [
        "/v2/stream/Page-Create",
        "/V2/Stream/Page-Create/",
        "/v2/stream/recentchange,Page-Create",
        "/v2/stream/recentchange%2CPage-Create",
        "/v2/stream/recentchange%2cmediawiki.page%2Dcreate/",
        "http://any.host:81/v2/stream/recentchange",
        "/v2/stream/recentchange?unknown=%zz",
    ] {
        server.get(path).await.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn checks_are_made_in_the_order_of_the_contract() {
    let server = Server::front();
    let bad_id = "last-event-id: [\r\n";
    let ask = async |uri: &str, headers| server.request(&format!("GET {uri}"), headers).await;
    ask("/v2/stream/x?since=bad", bad_id).await.problem(400, "not_found");
    ask("/v2/stream/recentchange?since=bad", bad_id).await.problem(400, "invalid_timestamp");
    ask("/v2/stream/recentchange?since=1", bad_id).await.problem(400, "invalid_assignment");
    let refused = ask("/v2/stream/recentchange?since=1", "").await;
    refused.problem(503, "unavailable");
    let seconds: u32 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds));
}

#[tokio::test]
async fn an_empty_since_or_last_event_id_counts_as_absent() {
    let server = Server::front();
    for headers in ["last-event-id:\r\n", "last-event-id:   \r\n", ""] {
        let reply = server.request("GET /v2/stream/recentchange?since=", headers).await;
        reply.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn of_several_last_event_ids_the_first_that_is_not_empty_counts() {
    let server = Server::front();
    let good = r#"["eqiad.recentchange"]"#;
    let ask = async |first: &str, second: &str| {
        let headers = format!("last-event-id: {first}\r\nlast-event-id: {second}\r\n");
        server.request("GET /v2/stream/recentchange", &headers).await
    };
    ask("", good).await.problem(503, "unavailable");
    ask(good, "[").await.problem(503, "unavailable");
    ask("[", good).await.problem(400, "invalid_assignment");
}

#[tokio::test]
async fn a_last_event_id_that_is_no_utf8_is_a_400() {
    let server = Server::front();
    let mut request = b"GET /v2/stream/recentchange HTTP/1.1\r\nconnection: close\r\n".to_vec();
    request.extend_from_slice(b"last-event-id: [\"\xff\xfe\"]\r\n\r\n");
    server.says_to(request).await.problem(400, "invalid_assignment");
}

#[tokio::test]
async fn a_full_host_and_one_that_goes_down_refuse_with_503_and_only_after_the_text() {
    let (router, gate) = front(Settings::default());
    let server = Server::of(router);
    let _held = [
        gate.admit([127, 0, 0, 1].into()).expect("room"),
        gate.admit([127, 0, 0, 1].into()).expect("room"),
    ];
    let full = server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
    assert!(full["detail"].as_str().expect("text").contains("as many streams"), "{full}");
    server.get("/v2/stream/x").await.problem(400, "not_found");
    // HEAD needs no slot.
    assert_eq!(server.request("HEAD /v2/stream/recentchange", "").await.status(), 200);
    gate.drain();
    let draining = server.get("/v2/stream/recentchange").await;
    let detail = draining.problem(503, "unavailable")["detail"].to_string();
    assert!(detail.contains("going down"), "{detail}");
    assert!(draining.has("retry-after").is_some());
    assert_eq!(server.request("HEAD /v2/stream/recentchange", "").await.status(), 503);
}

#[tokio::test]
async fn a_refused_stream_gives_its_slot_back() {
    let (router, gate) = front(Settings::default());
    let server = Server::of(router);
    for _ in 0..5 {
        server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
    }
    assert_eq!(gate.held(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_requests_is_counted_by_reason() {
    let metrics = Arc::new(Metrics::new());
    let server = Server::of(front_with(&metrics, Settings::default()).0);
    server.get("/v2/stream/x").await;
    server.get("/v2/stream/y").await;
    server.get("/v2/stream/recentchange?since=nonsense").await;
    server.get("/nothing").await;
    let text = metrics.render();
    for line in [
        r#"tidegate_refusals_total{reason="not_found"} 2"#,
        r#"tidegate_refusals_total{reason="invalid_timestamp"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_a_404_and_a_broken_percent_sequence_a_400() {
    let server = Server::front();
    for uri in ["/nothing", "/v2/stream", "/v2/stream/", "/v2/stream/a/b", "/v1/nothing", "//"] {
        let problem = server.get(uri).await.problem(404, "not_found");
        assert_eq!(problem["uri"], uri);
    }
    server.get("*").await.problem(404, "not_found");
    server.request("CONNECT any.host:80", "").await.problem(404, "not_found");
    for line in ["POST /v2/stream/recentchange", "DELETE /", "PUT /_info", "BREW /v2/ui/"] {
        let problem = server.request(line, "content-length: 0\r\n").await.problem(404, "not_found");
        assert_eq!(problem["method"], line.split(' ').next().expect("a method"));
    }
    for uri in ["/v2/stream/a%2", "/v2/stream/a%zz", "/%", "/v2/stream/%ff", "/x/%+1"] {
        server.get(uri).await.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn nothing_of_the_client_stands_in_the_reason_phrase_and_long_texts_are_cut() {
    let server = Server::front();
    let long = "z".repeat(9000);
    let reply = server.get(&format!("/v2/stream/{long}?q=1")).await;
    assert_eq!(reply.line, "HTTP/1.1 400 Bad Request");
    let problem = reply.problem(400, "not_found");
    assert!(reply.body.len() < 6000, "{} bytes", reply.body.len());
    let uri = problem["uri"].as_str().expect("text");
    assert!(uri.starts_with("/v2/stream/zzz") && uri.ends_with('…'));
    // What would break a line on its way to a terminal or a log is escaped.
    let reply = server.get("/v2/stream/a%0D%0AX-Evil:%201%1B%5B31m").await;
    assert!(reply.has("x-evil").is_none());
    assert!(!reply.text().contains('\u{1b}') && !reply.text().contains('\n'));
    reply.problem(400, "not_found");
}

#[tokio::test]
async fn an_absolute_form_is_told_back_as_path_and_query() {
    let server = Server::front();
    let reply = server.get("http://any.host/v2/stream/x/?a=b").await;
    assert_eq!(reply.problem(400, "not_found")["uri"], "/v2/stream/x/?a=b");
}

// Heads -------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_head_of_30_kb_is_read_and_a_longer_one_is_a_431() {
    let server = Server::front();
    let ask = async |bytes: usize| {
        let id = format!("last-event-id: [\"{}\"]\r\n", "a".repeat(bytes));
        server.request("GET /v2/stream/recentchange", &id).await
    };
    ask(12_000).await.problem(503, "unavailable");
    ask(30_000).await.problem(503, "unavailable");
    ask(40_000).await.problem(431, "request_header_fields_too_large");
    // So long that hyper gives up reading.
    ask(300_000).await.problem(431, "request_header_fields_too_large");
}

#[tokio::test]
async fn a_head_of_more_than_a_hundred_fields_is_a_431() {
    let server = Server::front();
    let reply = server.request("GET /_info", &"x: y\r\n".repeat(120)).await;
    reply.problem(431, "request_header_fields_too_large");
}

#[tokio::test]
async fn a_long_path_is_a_414() {
    let server = Server::front();
    let path = format!("/v2/stream/{}", "a,".repeat(10_000));
    server.get(&path).await.problem(414, "uri_too_long");
}

#[tokio::test]
async fn what_is_no_http_is_a_400_in_the_same_shape() {
    let server = Server::front();
    for nonsense in
        ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\u{16}\u{3}\u{1}x\r\n"]
    {
        let reply = server.says_to(nonsense).await;
        reply.problem(400, "bad_request");
        assert_eq!(reply.header("connection"), "close");
    }
}

#[tokio::test]
async fn half_a_head_is_a_408_and_no_head_at_all_a_plain_close() {
    let router = front(Settings::default()).0;
    let server = Server::with(router, |b| b.head_timeout(Duration::from_secs(1)));
    let reply = server.says_to("GET /_info HTTP/1.1\r\nhost: ").await;
    reply.problem(408, "request_timeout");
    let mut idle = server.connect().await;
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, idle.read_to_end(&mut bytes)).await.expect("it is closed");
    assert_eq!(read.expect("without a reset"), 0);
}

// CORS --------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_public_answer_may_be_read_by_any_origin() {
    let server = Server::front();
    for line in ["GET /_info", "GET /", "GET /nothing", "HEAD /v2/stream/recentchange"] {
        let reply = server.request(line, "origin: https://a.example\r\n").await;
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{line}");
        let exposed = reply.header("access-control-expose-headers");
        assert!(exposed.contains("retry-after") && exposed.contains("x-stream-gap"));
    }
}

#[tokio::test]
async fn a_preflight_is_answered_anywhere_and_allows_what_clients_send() {
    let server = Server::front();
    let asks = "origin: https://a.example\r\naccess-control-request-method: GET\r\n\
                access-control-request-headers: last-event-id\r\n";
    for uri in ["/v2/stream/recentchange", "/v2/stream/x", "/", "/nothing", "/a%zz", "*"] {
        let reply = server.request(&format!("OPTIONS {uri}"), asks).await;
        assert_eq!((reply.status(), reply.body.len()), (204, 0), "{uri}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        let allowed = reply.header("access-control-allow-headers");
        for name in ["last-event-id", "cache-control", "accept", "content-type", "authorization"] {
            assert!(allowed.contains(name), "{name} in {allowed}");
        }
    }
}

#[tokio::test]
async fn what_is_not_for_web_pages_has_no_cors() {
    let server = Server::front();
    let origin = "origin: https://a.example\r\ncontent-length: 0\r\n";
    let taken = server.request("POST /v1/events", origin).await;
    assert_eq!((taken.status(), taken.text()), (200, "taken"));
    assert_eq!(taken.has("access-control-allow-origin"), None);
    let preflight = server.request("OPTIONS /v1/events", origin).await;
    assert_eq!(preflight.has("access-control-allow-origin"), None);
    assert_eq!(preflight.status(), 405);
}

// Small routes ------------------------------------------------------------------------------------

#[tokio::test]
async fn redirects_lead_where_the_contract_says() {
    let server = Server::front();
    for (uri, status, to) in [
        ("/", 303, "/v2/ui/"),
        ("/?other", 303, "/v2/ui/"),
        ("/v2/ui", 301, "/v2/ui/"),
        ("/V2/UI?x=1", 301, "/v2/ui/?x=1"),
        ("/rc", 301, "/?doc"),
        ("/_info/home", 301, "/?doc"),
    ] {
        let reply = server.get(uri).await;
        assert_eq!((reply.status(), reply.header("location")), (status, to), "{uri}");
    }
}

#[tokio::test]
async fn without_the_browser_pages_the_root_leads_to_the_documentation() {
    let settings = Settings { ui: false, ..Settings::default() };
    let server = Server::of(front(settings).0);
    assert_eq!(server.get("/").await.header("location"), "/?doc");
    server.get("/v2/ui/").await.problem(404, "not_found");
    let page = server.get("/?doc").await;
    assert!(page.status() == 200 && !page.text().contains("/v2/ui/"));
}

#[tokio::test]
async fn info_and_robots_are_as_programs_expect_them() {
    let server = Server::front();
    let info = server.get("/_info").await.json();
    assert_eq!(info["name"], "tidegate");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["description"].is_string() && info["home"].is_string());
    let name = server.get("/_info/name").await.json();
    assert_eq!(name, serde_json::json!({ "name": "tidegate" }));
    let version = server.get("/_info/version/").await.json();
    assert_eq!(version, serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }));
    let robots = server.get("/robots.txt").await;
    assert_eq!(robots.text(), "User-agent: *\nDisallow: /\n");
    assert!(robots.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn the_openapi_document_lists_every_name_where_uis_look_for_it() {
    let server = Server::front();
    let document = server.get("/?spec").await.json();
    let get = &document["paths"]["/v2/stream/{streams}"]["get"];
    let names = &get["parameters"][0]["schema"]["items"]["enum"];
    let all = ["Page-Create", "recentchange", "mediawiki.page-create", "mediawiki.recentchange"];
    assert_eq!(names, &serde_json::json!(all));
    for name in all {
        let path = format!("/v2/stream/{name}");
        assert!(document["paths"][&path]["get"]["responses"]["200"].is_object(), "{path}");
    }
}

#[tokio::test]
async fn pages_come_whole_from_this_host_and_say_that_nothing_else_may() {
    let server = Server::front();
    for uri in ["/v2/ui/", "/?doc"] {
        let page = server.get(uri).await;
        assert_eq!(page.status(), 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for outside in ["src=\"http", "src=\"//", "@import", "url(", "{{", " style=", "onclick"] {
            assert!(!page.text().contains(outside), "{outside} in {uri}");
        }
        // Everything that the page loads is there.
        for attribute in ["src=\"", "href=\""] {
            for rest in page.text().split(attribute).skip(1) {
                let file = rest.split('"').next().expect("an end");
                // What is drawn with a part of the page itself, or is nothing.
                if file.starts_with('#') || file.starts_with("data:") {
                    continue;
                }
                let file = if file.starts_with('/') { file } else { &format!("{uri}{file}") };
                assert_eq!(server.get(file).await.status(), 200, "{file}");
            }
        }
    }
    let page = server.get("/?doc").await;
    assert!(page.text().contains("All edits &amp; &lt;more&gt;"));
    server.get("/v2/ui/nothing.js").await.problem(404, "not_found");
}

#[tokio::test]
async fn head_of_a_stream_has_the_headers_of_the_stream_at_once_and_no_length() {
    let server = Server::front();
    let reply = server.request("HEAD /V2/stream/recentchange", "").await;
    assert_eq!((reply.status(), reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_eq!(reply.header("vary"), "accept-encoding");
    assert_eq!(reply.has("content-length"), None);
    let json = server.request("HEAD /v2/stream/recentchange", "accept: application/json\r\n").await;
    assert_eq!(json.header("content-type"), "application/json; charset=utf-8");
    let accept = "accept: application/x-ndjson, */*\r\n";
    let ndjson = server.request("HEAD /v2/stream/recentchange", accept).await;
    assert_eq!(ndjson.header("content-type"), "application/x-ndjson; charset=utf-8");
    let missing = server.request("HEAD /v2/stream/x", "").await;
    assert_eq!((missing.status(), missing.body.len()), (400, 0));
    assert_eq!(server.request("HEAD /_info", "").await.status(), 200);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_hurts_nobody_else() {
    let server = Server::front();
    let reply = server.get("/breaks").await;
    assert_eq!(reply.status(), 500);
    assert_eq!(reply.json()["type"], "internal_error");
    assert!(!reply.text().contains("on purpose"));
    assert_eq!(server.get("/_info").await.status(), 200);
}
