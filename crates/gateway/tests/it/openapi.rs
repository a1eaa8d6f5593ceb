//! The OpenAPI document against the server it describes.

use crate::house::House;
use serde_json::Value;
use std::collections::BTreeSet;
use testkit::TestDb;

/// The methods that a path's item has, as `Allow` names them.
fn told(item: &Value) -> BTreeSet<String> {
    let mut methods: BTreeSet<String> =
        item.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect();
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods
}

#[tokio::test]
async fn the_document_has_the_methods_that_the_server_has() {
    let house = House::open(TestDb::sqlite().await).await;
    let admin = house.admin();
    let document = admin.call("GET", "/api/openapi.json").send().await.expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let printed: Value = serde_json::from_str(&house.server.cli_ok(&["openapi"]).await).unwrap();
    assert_eq!(document, printed);

    let paths = document["paths"].as_object().unwrap();
    let administration = paths.iter().filter(|(path, _)| path.starts_with("/api/"));
    for (path, item) in administration.filter(|(path, _)| *path != "/api/status") {
        let target = path.replace("{id}", "1").replace(['{', '}'], "");
        let refused = admin.call("OPTIONS", &target).send().await.expect(405);
        let allowed = refused.header("allow").unwrap();
        let allowed = allowed.split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(told(item), allowed, "{path}");
        house.server.call("GET", &target).send().await.expect(401);
    }
    house.close().await;
}
