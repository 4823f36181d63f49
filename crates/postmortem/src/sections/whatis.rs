//! Types by their names, and the types of variables.

use clap::Args;
use serde_json::json;

use super::place;
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel, declaration, declared};

/// The name.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// A struct, union, enum, typedef or variable
    #[arg(value_name = "TYPE|SYMBOL", num_args = 1.., required = true)]
    name: Vec<String>,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let name = self.name.join(" ");
        let types = kernel.types();
        let (of, text) = match place::find_type(kernel, "struct", &name) {
            Ok(of) => (of, declaration(types, of, false)?),
            Err(error) => match kernel.global(&name) {
                Ok(variable) => {
                    let of = variable.type_id();
                    (of, format!("{};", declared(types, of, &name)))
                }
                Err(Error::NoSymbol(_)) => return Err(error),
                Err(other) => return Err(other),
            },
        };
        let data = json!({ "name": name, "type": types.name(of), "size": types.size(of)? });
        Ok(Answer::new(name, &data)?.with(Block::Text(text)))
    }
}
