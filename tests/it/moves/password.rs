//! A cluster that does not take the gateway's password for a while.

use super::world::{LIVELY, wait_for_refusal, wait_for_service};
use crate::support::gateway::Gateway;
use crate::support::kafka::New;
use crate::support::kafka::node::Node;
use crate::support::kafka::topics::Topics;
use crate::support::{block_on, eventually, free_port, sse};

const PATH: &str = "/v2/stream/s?id=first";

#[test]
fn a_password_that_is_not_taken_is_said_and_when_it_is_taken_again_nothing_is_lost() {
    let (outside, inside, controller) = (free_port(), free_port(), free_port());
    let properties = |password: &str| {
        format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=OUT://127.0.0.1:{outside},IN://127.0.0.1:{inside},\
             CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=OUT://127.0.0.1:{outside},IN://127.0.0.1:{inside}\n\
             inter.broker.listener.name=IN\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,IN:PLAINTEXT,\
             OUT:SASL_PLAINTEXT\n\
             listener.name.out.sasl.enabled.mechanisms=PLAIN\n\
             listener.name.out.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_tidegate=\"{password}\";\n"
        )
    };
    let mut node = Node::new(&properties("first"));
    node.format();
    node.go();
    let topics = Topics::of(format!("127.0.0.1:{inside}"));
    topics.wait_for_brokers(1);
    block_on(topics.create(("eqiad.guarded", 1, 1), &[], false));
    let clusters = format!(
        "[kafka.main]\nbootstrap = [\"127.0.0.1:{outside}\"]\n\
         properties = {{ \"security.protocol\" = \"sasl_plaintext\", \
         \"sasl.mechanisms\" = \"PLAIN\", \"sasl.username\" = \"tidegate\", \
         \"sasl.password\" = \"first\" }}\n"
    );
    let gateway = Gateway::clusters(&clusters, &[("s", &["eqiad.guarded"])], LIVELY);
    wait_for_service(&gateway, PATH);
    let mut events = sse::get(gateway.public(), PATH, &[]).expect("answered").events();
    events.greet();
    let records = topics.producer(&[]);
    let write = |n: i64| {
        let value = format!("{{\"n\":{n}}}");
        records.send("eqiad.guarded", New { value: Some(value.as_bytes()), ..New::default() });
        records.flush();
    };
    write(0);
    assert!(events.message().data.contains("\"n\":0"));

    let restart = |node: &mut Node, password: &str| {
        node.kill();
        node.configure(&properties(password));
        node.go();
        topics.wait_for_brokers(1);
    };
    restart(&mut node, "second");
    write(1);
    wait_for_refusal(&gateway, PATH);
    eventually("the cause is said", || {
        let says = gateway.health()["sources"][0]["says"].to_string();
        says.to_lowercase().contains("authentication")
    });
    restart(&mut node, "first");
    write(2);
    for n in [1, 2] {
        let data = events.message().data;
        assert!(data.contains(&format!("\"n\":{n}")), "{data}");
    }
    wait_for_service(&gateway, PATH);
}
