//! Two gateways before one Kafka: an id of the one is good at the other, which may not have come
//! so far yet.

use super::world::{Kind, Place, Row, World};

#[test]
fn an_id_goes_on_exactly_at_another_gateway_while_events_come() {
    let world = World::new(Kind::Kafka, 2);
    let other = world.another_gateway();
    let rows: Vec<Row> = (0..240)
        // Four of each partition share a millisecond.
        .map(|n| (usize::from(n % 3 == 0), i32::from(n % 2 == 0), 1 + i64::from(n) / 12))
        .collect();
    let mut seen: Vec<Place> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for rows in rows.chunks(8) {
                world.write(rows);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let mut id = String::new();
        for connection in 0.. {
            let gateway = if connection % 2 == 0 { &world.gateway } else { &other };
            let path = if id.is_empty() { "both?since=0" } else { "both" };
            let headers = [("last-event-id", id.as_str())];
            let response = World::open_at(gateway, path, &headers);
            assert_eq!(response.header("x-stream-gap"), None);
            let mut events = response.events();
            for _ in 0..=connection % 4 {
                let event = events.message();
                seen.push(world.place(&event));
                id = event.id;
                if seen.len() == rows.len() + 2 {
                    return;
                }
            }
        }
    });
    seen.sort_unstable();
    assert_eq!(seen, world.all());
}
