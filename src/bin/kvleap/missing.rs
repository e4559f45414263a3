//! Subcommands that this build does not have.

/// A module with the arguments of a subcommand that is not compiled in: any, all of which it answers with the features
/// that it needs.
#[cfg_attr(feature = "cli", allow(unused_macros, reason = "`cli` has all subcommands"))]
macro_rules! missing {
    ($name:ident, $features:literal) => {
        missing!($name, stringify!($name), $features);
    };
    ($name:ident, $command:expr, $features:literal) => {
        mod $name {
            use std::ffi::OsString;

            #[derive(clap::Args)]
            #[command(about = concat!("Not in this build: needs --features command,", $features), disable_help_flag = true)]
            pub(crate) struct Args {
                #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
                any: Vec<OsString>,
            }

            impl Args {
                pub(crate) fn run(self) -> crate::Outcome {
                    drop(self.any);
                    let (command, features) = ($command, $features);
                    Err(format!("this build has no `{command}`; build with --features command,{features}").into())
                }
            }
        }
    };
}
