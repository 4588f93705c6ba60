//! Custom data.

use super::*;

const KINDS: &str = "/apis/v2/customdatakinds";
const ITEMS: &str = "/apis/v2/customdata/user";

async fn with_kind() -> World {
    let world = world();
    let kind = "name: user\nidField: id\njsonSchema: {type: object, properties: {age: {type: integer}}}\n";
    let told = world.check("POST", KINDS, kind, 201, "").await;
    assert_eq!(told.body, "");
    world
}

#[tokio::test]
async fn kinds_are_made_changed_and_removed() {
    let world = with_kind().await;
    world.check("POST", KINDS, "{\"name\": \"plain\"}", 201, "").await;
    let told = world.check("GET", KINDS, "", 200, "").await;
    assert_eq!(
        told.body,
        "[{\"name\":\"plain\",\"len\":0},{\"name\":\"user\",\"idField\":\"id\",\"jsonSchema\":\
         {\"type\":\"object\",\"properties\":{\"age\":{\"type\":\"integer\"}}},\"len\":0}]"
    );
    world.check("POST", KINDS, "name: user", 503, "user exists already").await;
    world.check("PUT", KINDS, "name: other", 503, "other does not exist").await;
    world.check("POST", KINDS, "- 1", 500, "must be an object").await;
    world.check("POST", KINDS, "{\"name\"", 500, "cannot be read").await;
    world.check("POST", KINDS, "idField: x", 400, "name: must be").await;
    world.check("POST", KINDS, "name: a/b", 400, "name: must be").await;
    world.check("POST", KINDS, "name: x\njsonSchema: {type: 3}", 400, "jsonSchema: ").await;
    world.check("PUT", KINDS, "Name: plain\nIDFIELD: key", 200, "").await;
    let told = world.check("GET", "/apis/v2/customdatakinds/plain", "", 200, "").await;
    assert_eq!(told.body, "{\"name\":\"plain\",\"idField\":\"key\",\"len\":0}");
    world.check("GET", "/apis/v2/customdatakinds/none", "", 500, "none does not exist").await;
    world.check("DELETE", "/apis/v2/customdatakinds/none", "", 503, "none does not exist").await;
    world.check("POST", "/apis/v2/customdata/plain", "key: k", 201, "").await;
    world.check("GET", "/apis/v2/customdatakinds/plain", "", 200, "\"len\":1").await;
    world.check("DELETE", "/apis/v2/customdatakinds/plain", "", 200, "").await;
    assert_eq!(world.store.value("/custom-data/plain/k"), None, "its data went with it");
    world.check("POST", ITEMS, "id: a", 201, "").await;
    world.check("DELETE", KINDS, "", 200, "").await;
    assert_eq!(world.check("GET", KINDS, "", 200, "").await.body, "[]");
    assert_eq!(world.store.value("/custom-data/user/a"), None);
}

#[tokio::test]
async fn items_are_made_read_changed_and_removed() {
    let world = with_kind().await;
    world.check("POST", ITEMS, "id: a\nage: 3\n", 201, "").await;
    assert_eq!(world.store.value("/custom-data/user/a").unwrap(), "{\"id\":\"a\",\"age\":3}");
    world.check("POST", ITEMS, "{\"id\": \"a\"}", 503, "a exists already").await;
    world.check("PUT", ITEMS, "id: b", 503, "b does not exist").await;
    world.check("PUT", ITEMS, "id: a\nage: old", 503, "/age: ").await;
    world.check("POST", ITEMS, "name: a", 503, "id: must be a text").await;
    world.check("POST", ITEMS, "id: 3", 503, "id: must be a text").await;
    for control in ["\\u001b[2J", "\\u009b2J", "a\\nb", "\\u007f"] {
        world.check("POST", ITEMS, &format!("{{\"id\": \"{control}\"}}"), 503, "without control characters").await;
    }
    world.check("POST", ITEMS, "[1]", 500, "must be an object").await;
    world.check("POST", "/apis/v2/customdata/none", "id: a", 503, "none does not exist").await;
    world.check("PUT", ITEMS, "id: a\nage: 4\n", 200, "").await;
    assert_eq!(world.check("GET", "/apis/v2/customdata/user/a", "", 200, "").await.body, "{\"id\":\"a\",\"age\":4}");
    let told = world.check("GET", "/apis/v2/customdata/user/b", "", 200, "").await;
    assert_eq!((told.body.as_str(), told.content_type), ("", None));
    world.check("DELETE", "/apis/v2/customdata/user/b", "", 503, "b does not exist").await;
    world.check("DELETE", "/apis/v2/customdata/none/b", "", 503, "none does not exist").await;
    assert_eq!(world.check("GET", ITEMS, "", 200, "").await.body, "[{\"id\":\"a\",\"age\":4}]");
    world.check("DELETE", "/apis/v2/customdata/user/a", "", 200, "").await;
    assert_eq!(world.check("GET", ITEMS, "", 200, "").await.body, "[]");
}

#[tokio::test]
async fn a_batch_is_checked_whole_and_long_lists_come_in_pieces() {
    let world = with_kind().await;
    let target = "/apis/v2/customdata/user/items";
    let list: Vec<Value> = (0..300).map(|n| json!({"id": format!("i{n:03}"), "age": n})).collect();
    world.check("POST", target, &json!({ "list": list }).to_string(), 200, "").await;
    let told = world.check("GET", ITEMS, "", 200, "").await;
    assert!(told.chunks > 3);
    assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap(), json!(list));
    let wrong = json!({"delete": ["i000"], "list": [{"id": "x"}, {"id": "y", "age": "old"}]});
    world.check("POST", target, &wrong.to_string(), 503, "list[1]: /age: ").await;
    world.check("POST", target, "{\"delete\": [1]}", 503, "list of ids").await;
    world.check("POST", target, "{\"list\": {}}", 503, "list: must be a list").await;
    world.check("POST", "/apis/v2/customdata/none/items", "{}", 503, "none does not exist").await;
    world.check("GET", "/apis/v2/customdatakinds/user", "", 200, "\"len\":300").await;
    let both = json!({"delete": ["i000", "i001"], "list": [{"id": "i001", "age": 9}]});
    world.check("POST", target, &both.to_string(), 200, "").await;
    world.check("GET", "/apis/v2/customdata/user/i001", "", 200, "9").await;
    world.check("GET", "/apis/v2/customdatakinds/user", "", 200, "\"len\":299").await;
    world.check("POST", target, "{\"rebuild\": true, \"list\": [{\"id\": \"z\"}]}", 200, "").await;
    assert_eq!(world.check("GET", ITEMS, "", 200, "").await.body, "[{\"id\":\"z\"}]");
    world.check("DELETE", target, "", 200, "").await;
    assert_eq!(world.check("GET", ITEMS, "", 200, "").await.body, "[]");
}
