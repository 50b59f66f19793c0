//! (being written)
pub mod produce;

/// The command.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
