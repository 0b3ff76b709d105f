//! `/openapi.json`: the table of paths as an OpenAPI document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Required,
    ResponseBuilder,
};

use super::control::Control;
use super::table::{self, AdminRoute, Answer, Parameter, Verb};

const SECURITY: &str = "adminToken";
const PROBLEM: &str = "Problem";

/// `GET /openapi.json`
pub(super) async fn answer(State(control): State<Arc<Control>>) -> Json<OpenApi> {
    Json(document(control.guard.has_token()))
}

fn document(needs_token: bool) -> OpenApi {
    let routes = table::routes();
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new()
        .schema(PROBLEM, problem())
        .security_scheme(
            SECURITY,
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    for route in routes {
        let verb = match route.verb {
            Verb::Get => HttpMethod::Get,
            Verb::Post => HttpMethod::Post,
        };
        let operation = operation(&route, needs_token);
        paths = paths.path(path(&route), PathItem::new(verb, operation));
        if let Answer::Document(shape) | Answer::List(shape) = route.answer {
            components = components.schema(shape.name, shape.schema);
            components = components.schemas_from_iter(shape.parts);
        }
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Pannier admin listener")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("What operators ask and command."))
                .build(),
        )
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

/// OpenAPI knows no parameter that takes the rest of a path.
fn path(route: &AdminRoute) -> String {
    route.path.replace("{*", "{")
}

fn operation(route: &AdminRoute, needs_token: bool) -> OperationBuilder {
    let (content_type, schema): (&str, RefOr<Schema>) = match &route.answer {
        Answer::Text(content_type) => (content_type, text().into()),
        Answer::Object => ("application/json", ObjectBuilder::new().into()),
        Answer::Document(shape) => (
            "application/json",
            Ref::from_schema_name(&shape.name).into(),
        ),
        Answer::List(shape) => (
            "application/json",
            ArrayBuilder::new()
                .items(Ref::from_schema_name(&shape.name))
                .into(),
        ),
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let done = ResponseBuilder::new()
        .description("Done.")
        .content(content_type, content);
    let mut operation = OperationBuilder::new()
        .summary(Some(route.summary))
        .response("200", done.build());
    if !route.is_open() {
        operation = operation.response("default", refused());
        if needs_token {
            let bearer = SecurityRequirement::new(SECURITY, Vec::<String>::new());
            operation = operation.security(bearer);
        }
    }
    for parameter in route.parameters {
        operation = operation.parameter(described(parameter));
    }
    operation
}

fn described(parameter: &Parameter) -> ParameterBuilder {
    let (place, required) = if parameter.is_in_path {
        (ParameterIn::Path, Required::True)
    } else {
        (ParameterIn::Query, Required::False)
    };
    let mut schema = text();
    if !parameter.choices.is_empty() {
        schema = schema.enum_values(Some(parameter.choices.iter().copied()));
    }
    ParameterBuilder::new()
        .name(parameter.name)
        .parameter_in(place)
        .required(required)
        .description(Some(parameter.about))
        .schema(Some(schema))
}

fn refused() -> utoipa::openapi::Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(PROBLEM)))
        .build();
    ResponseBuilder::new()
        .description("Refused; `detail` says why.")
        .content("application/problem+json", content)
        .build()
}

/// RFC 9457.
fn problem() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("type", text())
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text())
        .required("status")
        .required("detail")
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
