"""The whole tree as a client sees it, for comparing two servers and for golden files."""

import base64

from . import proto


def dump(client, root="/", system=True):
    """{path: {data (base64 or None), stat, acl}} of every node at and under `root`. The client
    needs to be allowed to read everything (`super`); what it may not read has an `err` in place of
    the field. /zookeeper is left out unless
    `system`."""
    nodes = {}
    level = [root]
    while level:
        requests = []
        for path in level:
            record = proto.path_watch(path)
            requests += [(proto.GET_DATA, record), (proto.GET_ACL, proto.path_only(path))]
            requests += [(proto.GET_CHILDREN, record)]
        below = []
        for at in range(0, len(requests), 300):
            replies = client.pipeline(requests[at : at + 300])
            for index in range(0, len(replies), 3):
                path = level[(at + index) // 3]
                nodes[path] = _node(*replies[index : index + 2])
                names = replies[index + 2].get("children", [])
                below += [f"{path.rstrip('/')}/{name}" for name in names]
        level = [path for path in below if system or path != "/zookeeper"]
    return nodes


def _node(data, acl):
    node = {}
    if data["err"] == 0:
        node["data"] = None if data["data"] is None else base64.b64encode(data["data"]).decode()
        node["stat"] = data["stat"]
    else:
        node["err"] = data["err"]
    node["acl"] = [list(entry) for entry in acl["acl"]] if acl["err"] == 0 else {"err": acl["err"]}
    return node
