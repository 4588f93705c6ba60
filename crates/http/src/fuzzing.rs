//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

mod grpc;
mod h1;

pub use grpc::{grpc_head, grpc_messages};
pub use h1::{h1_body, h1_request, h1_response};

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn heads_of_requests_survive_and_say_the_same_when_written_again() {
        replay("h1_request", super::h1_request);
    }

    #[test]
    fn heads_of_responses_survive_and_say_the_same_when_written_again() {
        replay("h1_response", super::h1_response);
    }

    #[test]
    fn bodies_are_those_of_any_pieces() {
        replay("h1_body", super::h1_body);
    }

    #[test]
    fn heads_of_calls_are_survived() {
        replay("grpc_head", super::grpc_head);
    }

    #[test]
    fn messages_of_a_stream_are_those_of_any_frames() {
        replay("grpc_messages", super::grpc_messages);
    }
}
