//! What a node says of itself.

pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("How far that one is; null: none is under way.", "其进度; null: 没有正在进行的核对。"),
    ("Nodes that serve: their lease is valid.", "在线的节点数: 租约有效。"),
    (
        "What it measured of itself at its last heartbeat, seconds ago; null where it has just \
         started, or is gone.",
        "最近一次心跳 (几秒前) 时的自身测量值; null: 刚启动, 或已停止。",
    ),
];
