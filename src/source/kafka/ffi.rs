//! The one call of librdkafka that its Rust crate does not have: what topics are, with their ids.
//!
//! Everything unsafe of the project is here. Its proof, in short: the client's handle is borrowed
//! for the whole call; every object that is made is destroyed once, by a guard, after the last use
//! of what is borrowed from it; nothing that is borrowed leaves the function, names and tags are
//! copied.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys::bindings as sys;

use crate::event::LogTag;

/// A topic that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Description {
    /// How many partitions it has.
    pub(super) partitions: i32,
    /// From its id; `None`: the brokers are too old to have one.
    pub(super) log: Option<LogTag>,
}

/// Destroys a native object when it goes.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by the library, destroyed nowhere else, and nothing borrowed from it
            // is used after the guard: guards are declared before what borrows from them.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks what topics are, in the order of `names`; one that does not exist is `None`. Blocking.
///
/// # Errors
/// What the client says, in words.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<Description>>, String> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<CString> =
        names.iter().map(|n| CString::new(*n).expect("a topic's name has no NUL")).collect();
    let mut pointers: Vec<_> = texts.iter().map(|t| t.as_ptr()).collect();
    let rk = client.native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `rk` lives as long as `client`; `pointers` point into `texts`, which outlives the
    // call that copies them.
    let (topics, queue, options) = unsafe {
        (
            Owned(
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
                sys::rd_kafka_TopicCollection_destroy,
            ),
            Owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy),
            Owned(
                sys::rd_kafka_AdminOptions_new(
                    rk,
                    sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                ),
                sys::rd_kafka_AdminOptions_destroy,
            ),
        )
    };
    // SAFETY: the objects are alive; the error text may be left out (null, 0). The event is ours.
    let event = unsafe {
        let set = sys::rd_kafka_AdminOptions_set_request_timeout;
        set(options.0, timeout_ms, ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        Owned(
            sys::rd_kafka_queue_poll(queue.0, timeout_ms.saturating_add(500)),
            sys::rd_kafka_event_destroy,
        )
    };
    if event.0.is_null() {
        return Err("no answer about topics in time".to_owned());
    }
    // SAFETY: the event is alive until the end of the function, and with it all that is borrowed
    // from it; the array has `count` elements, each alive as long as the event.
    unsafe {
        if sys::rd_kafka_event_error(event.0)
            != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(text(sys::rd_kafka_event_error_string(event.0)));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err("another answer than was asked for".to_owned());
        }
        let mut count = 0;
        let array = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let all = if count == 0 { &[][..] } else { std::slice::from_raw_parts(array, count) };
        let mut found = vec![None; names.len()];
        for &topic in all {
            let name = text(sys::rd_kafka_TopicDescription_name(topic));
            if let Some(place) = names.iter().position(|n| *n == name) {
                found[place] = description(topic)?;
            }
        }
        Ok(found)
    }
}

/// # Safety
/// `topic` is alive.
unsafe fn description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<Option<Description>, String> {
    use sys::rd_kafka_resp_err_t as code;
    // SAFETY: everything is borrowed from `topic`, which the caller keeps alive.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            match sys::rd_kafka_error_code(error) {
                code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => return Ok(None),
                _ => return Err(text(sys::rd_kafka_error_string(error))),
            }
        }
        let mut count = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let log = if id.is_null() { None } else { tag(&text(sys::rd_kafka_Uuid_base64str(id))) };
        let partitions = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Some(Description { partitions, log }))
    }
}

/// The head of an id as Kafka's tools print it. An id of zeros means that there is none.
fn tag(id: &str) -> Option<LogTag> {
    let id: String = id
        .chars()
        .map(|c| {
            if c == '+' {
                '-'
            } else if c == '/' {
                '_'
            } else {
                c
            }
        })
        .collect();
    let none = id.trim_end_matches('=').chars().all(|c| c == 'A');
    if none { None } else { LogTag::new(id.get(..6)?) }
}

/// # Safety
/// `text` is null or a text that ends with NUL, alive during the call.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_head_of_the_id_as_kafka_prints_it() {
        assert_eq!(tag("k3Zq9AbcdefGHIJKLMNOPQ"), LogTag::new("k3Zq9A"));
        assert_eq!(tag("+/Zq9AbcdefGHIJKLMNOPQ"), LogTag::new("-_Zq9A"));
        assert_eq!(tag("AAAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(tag(""), None);
    }
}
