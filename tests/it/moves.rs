//! Kafka that moves: brokers come and go, freeze, are cut off, ask for another password. Nobody
//! misses an event, nobody gets one twice, nothing is restarted.

mod anew;
mod gone;
mod password;
mod replaced;
mod world;
