"""Dangerous changes of containers, and the policy pack's report of each."""

from __future__ import annotations

from typing import Any

from policies import IMAGE_OF
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE
from rules import shown

Case = tuple[str, dict[str, Any], str]
"""A resource's name, its changed properties, and the expected report, without the name; an empty
text stands for the report that the property may not be set."""

CERTS = {"volumeName": "zhub-test-certs", "containerPath": "/certs", "readOnly": True}
STATE = {"volumeName": "zhub-test-state", "containerPath": "/srv/jupyterhub"}
GUARD = {"volumeName": "zhub-test-guardsocket", "containerPath": "/run/guard"}
AUDIT = {"volumeName": "zhub-test-audit", "containerPath": "/var/log/zhub"}
SOCKET = {"hostPath": "/var/run/docker.sock", "containerPath": "/var/run/docker.sock"}
HUBS = [CERTS, STATE, {**GUARD, "readOnly": True}]
GUARDS_PATHS = "/run/guard, /var/log/zhub, /var/run/docker.sock"
HUBS_PATHS = "allowed: /certs, /srv/jupyterhub, /run/guard"
BIND = {"type": "bind", "source": "/", "target": "/machine"}
ROOT = {"type": "volume", "target": "/machine", "volumeOptions": {"driverName": "local"}}
DIGEST = f"sha256:{'0' * 64}"
IMAGES = [f"ZHUB_NOTEBOOK_IMAGE={DIGEST}", f"ZHUB_FILTER_IMAGE={DIGEST}"]
ENVS = [
    "ZHUB_PREFIX=zhub-test",
    "DOCKER_HOST=unix:///run/guard/engine.sock",
    "ZHUB_CONFINED=true",
    IMAGES[0],
]
LIMITS = ["ZHUB_USER_MEMORY=2G", "ZHUB_USER_CPUS=2.0"]
GUARDS = ["ZHUB_PREFIX=zhub-test", *LIMITS, *IMAGES]
LABELS = [{"label": "zhub.stack", "value": "zhub-test"}, {"label": "zhub.role", "value": "hub"}]
HUB_NETWORK = {"name": "zhub-test-hub", "aliases": ["hub"]}
FILE = {"content": "x", "permissions": "0600", "owner": "1000", "group": "1000"}
KEY, CRT = ({**FILE, "file": f"/certs/hub.{end}"} for end in ("key", "crt"))
PORT = {"internal": 11119, "external": 11119}
DROPPED = {"drops": ["ALL"]}
DRIVERS = '"json-file", "local", "journald", "syslog", "fluentd"'
SAFE = "no-new-privileges:true"

#: Privileges, devices and namespaces of the machine, resources of others.
EVERY_CONTAINER: list[dict[str, Any]] = [
    {"privileged": True},
    {"devices": [{"hostPath": "/dev/kvm"}]},
    {"deviceRequests": "all"},
    {"deviceCgroupRules": ["b *:* rwm"]},
    {"gpus": "all"},
    {"pidMode": "host"},
    {"ipcMode": "host"},
    {"ipcMode": "shareable"},
    {"usernsMode": "host"},
    {"cgroupnsMode": "host"},
    {"cgroupParent": "/"},
    {"runtime": "unconfined"},
    {"groupAdds": ["docker"]},
    {"mounts": [BIND]},
    {"mounts": [ROOT]},
    {"mounts": [{"type": "tmpfs", "target": "/x"}]},
    {"storageOpts": {"size": "1T"}},
    {"ulimits": [{"name": "memlock", "soft": -1, "hard": -1}]},
    {"shmSize": 1024},
    {"dns": ["192.0.2.7"]},
    {"dnsOpts": ["rotate"]},
    {"dnsSearches": ["example.com"]},
    {"hosts": [{"host": "registry", "ip": "192.0.2.7"}]},
    {"links": ["other"]},
    {"publishAllPorts": True},
    {"hostname": "z"},
    {"domainname": "example.com"},
    {"workingDir": "/x"},
    {"platform": "linux/amd64"},
    {"init": True},
    {"rm": True},
    {"attach": True},
    {"tty": True},
    {"cpuSet": "0"},
    {"memoryReservation": 1},
    {"whatIsNewNextYear": False},
]

CONTAINERS: list[Case] = [
    *((role, change, "") for role in IMAGE_OF for change in EVERY_CONTAINER),
    *(
        (role, change, message)
        for role, memory in (("hub", 1024), ("guard", 192), ("files", 16), ("directory", 128))
        for change, message in (
            ({"name": "zhub-other-hub"}, f'name is "zhub-other-hub"; allowed: "zhub-test-{role}"'),
            ({"image": "debian"}, 'image is "debian"; allowed: an image by its digest'),
            (
                {"memorySwap": -1},
                (
                    "memorySwap is -1; allowed: a number above 0\n"
                    f"memorySwap is -1; allowed: {memory} as memory, so no swap"
                ),
            ),
            (
                {"securityOpts": None},
                f'securityOpts is not set; allowed: ["{SAFE}"]',
            ),
            (
                {"securityOpts": [SAFE, "seccomp=unconfined"]},
                f'securityOpts is ["{SAFE}", "seccomp=unconfined"]; allowed: ["{SAFE}"]',
            ),
            (
                {"securityOpts": [SAFE, "systempaths=unconfined"]},
                f'securityOpts is ["{SAFE}", "systempaths=unconfined"]; allowed: ["{SAFE}"]',
            ),
            (
                {"securityOpts": ["no-new-privileges:false"]},
                f'securityOpts is ["no-new-privileges:false"]; allowed: ["{SAFE}"]',
            ),
            ({"capabilities": None}, 'capabilities.drops is not set; allowed: ["ALL"]'),
            (
                {"capabilities": {"drops": ["CAP_MKNOD"]}},
                'capabilities.drops is ["CAP_MKNOD"]; allowed: ["ALL"]',
            ),
        )
    ),
    *(
        (role, {"networkMode": mode}, f'networkMode is "{mode}"; allowed: "{own}"')
        for role, own in (
            ("hub", "bridge"),
            ("guard", "none"),
            ("files", "none"),
            ("directory", "bridge"),
        )
        for mode in ("host", "container:other", "zhub-other-hub")
    ),
    # Privileges by role.
    (
        "hub",
        {"capabilities": {**DROPPED, "adds": ["CAP_NET_ADMIN"]}},
        'capabilities.adds is ["CAP_NET_ADMIN"]; allowed: not set',
    ),
    (
        "guard",
        {"capabilities": {**DROPPED, "adds": ["CAP_SETUID", "CAP_SYS_ADMIN"]}},
        'capabilities.adds[1] is "CAP_SYS_ADMIN"; allowed: "CAP_SETGID", "CAP_SETUID"',
    ),
    (
        "directory",
        {"capabilities": {**DROPPED, "adds": ["ALL"]}},
        (
            'capabilities.adds[0] is "ALL"; allowed: "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID",'
            ' "CAP_SETUID"'
        ),
    ),
    (
        "files",
        {"capabilities": {**DROPPED, "adds": ["CAP_CHOWN"]}},
        'capabilities.adds is ["CAP_CHOWN"]; allowed: not set',
    ),
    (
        "hub",
        {"sysctls": {"net.ipv4.ip_forward": "1"}},
        'sysctls.net.ipv4.ip_forward is "1"; allowed: "0"',
    ),
    (
        "hub",
        {"sysctls": {"net.ipv4.ip_forward": "0", "kernel.shmmax": "1"}},
        'sysctls.kernel.shmmax is "1"; allowed: not set',
    ),
    (
        "hub",
        {
            "sysctls": {
                "net.ipv4.ip_forward": "0",
                "net.ipv4.ip_unprivileged_port_start": "80",
            }
        },
        'sysctls.net.ipv4.ip_unprivileged_port_start is "80"; allowed: "0"',
    ),
    ("hub", {"sysctls": None}, 'sysctls.net.ipv4.ip_forward is not set; allowed: "0"'),
    *(
        (role, {"sysctls": {"net.ipv4.ip_forward": "0"}}, "")
        for role in ("guard", "files", "directory")
    ),
    ("hub", {"user": "0:1000"}, 'user is "0:1000"; allowed: "1000:1000"'),
    ("hub", {"user": None}, 'user is not set; allowed: "1000:1000"'),
    ("hub", {"readOnly": None}, "readOnly is not set; allowed: true"),
    ("guard", {"readOnly": False}, "readOnly is false; allowed: true"),
    (
        "guard",
        {"memory": None},
        (
            "memory is not set; allowed: a number above 0\nmemorySwap is 192; "
            "allowed: not set as memory, so no swap"
        ),
    ),
    (
        "files",
        {"memory": 0},
        (
            "memory is 0; allowed: a number above 0\n"
            "memorySwap is 16; allowed: 0 as memory, so no swap"
        ),
    ),
    # Files of the machine, and of others.
    (
        "hub",
        {"volumes": [*HUBS, SOCKET]},
        f'volumes has containerPath "/var/run/docker.sock"; {HUBS_PATHS}',
    ),
    (
        "hub",
        {"volumes": [*HUBS[1:], {**CERTS, "volumeName": "zhub-other-certs"}]},
        'volumes[/certs].volumeName is "zhub-other-certs"; allowed: "zhub-test-certs"',
    ),
    (
        "hub",
        {"volumes": [*HUBS[1:], {"containerPath": "/certs", "hostPath": "/etc", "readOnly": True}]},
        (
            'volumes[/certs].hostPath is "/etc"; allowed: not set\n'
            'volumes[/certs].volumeName is not set; allowed: "zhub-test-certs"'
        ),
    ),
    (
        "hub",
        {"volumes": [*HUBS[1:], {**CERTS, "readOnly": False}]},
        "volumes[/certs].readOnly is false; allowed: true",
    ),
    (
        "hub",
        {"volumes": [*HUBS[:2], GUARD]},
        "volumes[/run/guard].readOnly is not set; allowed: true",
    ),
    ("hub", {"volumes": [*HUBS, STATE]}, "volumes has containerPath /srv/jupyterhub twice"),
    ("hub", {"volumes": HUBS[1:]}, "volumes lacks containerPath /certs"),
    (
        "hub",
        {"volumes": [*HUBS, {"fromContainer": "zhub-test-guard"}]},
        f"volumes has containerPath not set; {HUBS_PATHS}",
    ),
    ("directory", {"volumes": [CERTS]}, ""),
    (
        "guard",
        {"volumes": [GUARD, AUDIT, SOCKET, {"hostPath": "/etc", "containerPath": "/etc"}]},
        f'volumes has containerPath "/etc"; allowed: {GUARDS_PATHS}',
    ),
    (
        "guard",
        {
            "envs": [
                *GUARDS,
                "ZHUB_USER_PIDS=512",
                'ZHUB_SHARED_FOLDERS=[{"name": "a", "path": "/etc/x"}]',
            ]
        },
        (
            'envs has ZHUB_SHARED_FOLDERS, which has the path "/etc/x"; allowed: a folder that is'
            " not the machine's own"
        ),
    ),
    (
        "guard",
        {"envs": [*GUARDS, "ZHUB_USER_PIDS=512", 'ZHUB_SHARED_FOLDERS=[{"name": "../a"}]']},
        'envs has ZHUB_SHARED_FOLDERS, which has the name "../a"; allowed: a-z, 0-9 and -',
    ),
    (
        "guard",
        {"envs": [*GUARDS, "ZHUB_USER_PIDS=512", "ZHUB_SHARED_ROOT=/var/lib/docker/volumes"]},
        (
            'envs has ZHUB_SHARED_ROOT, which is "/var/lib/docker/volumes"; allowed: a folder that'
            " is not the machine's own"
        ),
    ),
    (
        "guard",
        {"envs": [*GUARDS, "ZHUB_USER_PIDS=512", "ZHUB_SHARED_FOLDERS=x"]},
        'envs has ZHUB_SHARED_FOLDERS, which is "x"; allowed: folders, in JSON',
    ),
    (
        "guard",
        {"volumes": [GUARD, AUDIT, {**SOCKET, "hostPath": "/"}]},
        'volumes[/var/run/docker.sock].hostPath is "/"; allowed: the engine\'s socket',
    ),
    (
        "guard",
        {"volumes": [GUARD, AUDIT, {**SOCKET, "selinuxRelabel": "Z"}]},
        'volumes[/var/run/docker.sock].selinuxRelabel is "Z"; allowed: not set',
    ),
    (
        "files",
        {"volumes": [{**STATE, "containerPath": "/certs"}]},
        'volumes[/certs].volumeName is "zhub-test-state"; allowed: "zhub-test-certs"',
    ),
    (
        "files",
        {"volumes": [{"hostPath": "/", "containerPath": "/certs"}]},
        (
            'volumes[/certs].hostPath is "/"; allowed: not set\n'
            'volumes[/certs].volumeName is not set; allowed: "zhub-test-certs"'
        ),
    ),
    ("hub", {"tmpfs": {"/srv/jupyterhub": ""}}, 'tmpfs./srv/jupyterhub is ""; allowed: not set'),
    ("hub", {"tmpfs": {"/run": "exec,suid"}}, 'tmpfs./run is "exec,suid"; allowed: "", not set'),
    ("guard", {"tmpfs": {"/run/guard": ""}}, ""),
    # Command and environment.
    ("hub", {"entrypoints": ["/bin/sh"]}, ""),
    (
        "hub",
        {"command": ["--port=11119", "--debug"]},
        'command[1] is "--debug"; allowed: --port=NUMBER, --ldap=SERVERS',
    ),
    ("guard", {"command": ["hub"]}, 'command is ["hub"]; allowed: ["guard"]'),
    (
        "guard",
        {"entrypoints": ["/bin/sh", "-c"]},
        (
            'entrypoints is ["/bin/sh", "-c"]; allowed:'
            ' ["/opt/jupyter/bin/python3", "-I", "-m", "zhub"]'
        ),
    ),
    ("directory", {"entrypoints": ["/bin/sh"]}, ""),
    ("directory", {"command": ["sh"]}, ""),
    (
        "hub",
        {"envs": [ENVS[0], "DOCKER_HOST=tcp://192.0.2.7:2375", *ENVS[2:]]},
        (
            'envs has DOCKER_HOST, which is "tcp://192.0.2.7:2375"; allowed:'
            ' "unix:///run/guard/engine.sock"'
        ),
    ),
    (
        "hub",
        {"envs": None},
        (
            "envs lacks ZHUB_PREFIX\nenvs lacks DOCKER_HOST\nenvs lacks ZHUB_CONFINED\n"
            "envs lacks ZHUB_NOTEBOOK_IMAGE"
        ),
    ),
    (
        "hub",
        {"envs": [*ENVS[:2], "ZHUB_CONFINED=false", *ENVS[3:]]},
        'envs has ZHUB_CONFINED, which is "false"; allowed: "true"',
    ),
    ("hub", {"envs": [*ENVS[:2], *ENVS[3:]]}, "envs lacks ZHUB_CONFINED"),
    (
        "hub",
        # One may be that of the images of profiles.
        {"envs": [*ENVS, UNKNOWN_STRING_VALUE, UNKNOWN_STRING_VALUE]},
        "envs has a variable that is not known before `pulumi up`",
    ),
    (
        "hub",
        {"envs": [*ENVS, ENVS[1]]},
        "envs has a variable more than once",
    ),
    *(
        (
            "hub",
            {"envs": [*ENVS, f"{name}=/srv/jupyterhub/x"]},
            (
                f"envs has {name}; allowed: ZHUB_PREFIX, DOCKER_HOST, ZHUB_CONFINED,"
                " ZHUB_NOTEBOOK_IMAGE and other ZHUB_ variables"
            ),
        )
        for name in ("LD_PRELOAD", "PYTHONPATH", "PATH", "NODE_OPTIONS", "zhub_x")
    ),
    (
        "guard",
        {"envs": ["ZHUB_PREFIX=zhub-other", *GUARDS[1:], "ZHUB_USER_PIDS=512"]},
        'envs has ZHUB_PREFIX, which is "zhub-other"; allowed: "zhub-test"',
    ),
    ("guard", {"envs": GUARDS}, "envs lacks ZHUB_USER_PIDS"),
    # Without a digest, it would run an image by its name, which any user of the engine may change.
    ("guard", {"envs": [*GUARDS[:-1], "ZHUB_USER_PIDS=512"]}, "envs lacks ZHUB_FILTER_IMAGE"),
    (
        "guard",
        {"envs": [*GUARDS[:-1], "ZHUB_USER_PIDS=512", "ZHUB_FILTER_IMAGE=zhub_filter:latest"]},
        (
            'envs has ZHUB_FILTER_IMAGE, which is "zhub_filter:latest"; allowed: an image by its'
            " digest"
        ),
    ),
    (
        "guard",
        {"envs": [*GUARDS[:-2], "ZHUB_USER_PIDS=512", UNKNOWN_STRING_VALUE]},
        "envs lacks ZHUB_NOTEBOOK_IMAGE\nenvs lacks ZHUB_FILTER_IMAGE",
    ),
    (
        "guard",
        {"envs": [*GUARDS, "ZHUB_USER_PIDS=0"]},
        'envs has ZHUB_USER_PIDS, which is "0"; allowed: a limit above 0',
    ),
    ("directory", {"envs": ["X=1"]}, ""),
    *(
        (role, {"healthcheck": {"tests": tests}}, f"healthcheck.tests is {shown(tests)}; {known}")
        for role, known in (
            ("hub", r"allowed: CMD /usr/local/bin/zhub-health \d+"),
            ("guard", "allowed: CMD /usr/local/bin/zhub-health guard"),
            ("directory", "allowed: CMD /usr/local/bin/directory-health"),
        )
        for tests in (
            ["CMD-SHELL", "test -S /run/guard/engine.sock"],
            ["CMD", "/opt/jupyter/bin/python3", "-c", "import docker"],
            ["CMD", "test", "-S", "/x;", "sh"],
            # Programs of the image, which could do more in another container, such as the guard's.
            ["CMD", "/opt/jupyter/bin/python3", "-I", "-m", "zhub", "check-directory"],
            ["CMD", "/usr/local/bin/zhub-health", "guard", "more"],
            ["CMD", "/usr/local/bin/zhub-health guard"],
            None,
        )
    ),
    ("files", {"healthcheck": {"tests": ["CMD", "true"]}}, ""),
    ("hub", {"restart": "no"}, 'restart is "no"; allowed: "always"'),
    # Only one container may stay unstarted, and it cannot be made to do anything.
    *(
        (
            role,
            {"start": False, "mustRun": False},
            "mustRun is false; allowed: not set, true\nstart is false; allowed: not set, true",
        )
        for role in ("hub", "guard", "directory")
    ),
    ("files", {"start": True}, "start is true; allowed: false"),
    ("files", {"mustRun": None}, "mustRun is not set; allowed: false"),
    ("files", {"restart": "always"}, 'restart is "always"; allowed: not set, "no"'),
    ("files", {"entrypoints": None}, 'entrypoints is not set; allowed: ["/bin/false"]'),
    ("files", {"entrypoints": ["sh"]}, 'entrypoints is ["sh"]; allowed: ["/bin/false"]'),
    ("files", {"command": ["sh"]}, ""),
    ("files", {"user": "0"}, ""),
    ("files", {"networksAdvanced": [HUB_NETWORK]}, ""),
    ("files", {"ports": [PORT]}, ""),
    # Files from the operator's machine, or in folders of programs.
    (
        "files",
        {"uploads": [{**KEY, "source": "/root/.ssh/id_rsa"}, CRT]},
        'uploads[/certs/hub.key].source is "/root/.ssh/id_rsa"; allowed: not set',
    ),
    (
        "files",
        {"uploads": [KEY, CRT, {**FILE, "file": "/bin/false"}]},
        (
            'uploads has file "/bin/false"; allowed: /certs/hub.key, /certs/hub.crt,'
            " /certs/hub_config.py, /certs/ldap-ca.pem, /certs/ldap-password,"
            " /certs/service-tokens.json, /certs/site.json"
        ),
    ),
    (
        "files",
        {"uploads": [{**KEY, "permissions": "0644"}, CRT]},
        'uploads[/certs/hub.key].permissions is "0644"; allowed: "0600"',
    ),
    ("hub", {"uploads": [KEY]}, ""),
    # Networks and ports.
    (
        "hub",
        {"networksAdvanced": [HUB_NETWORK, {"name": "zhub-other-hub", "aliases": ["hub"]}]},
        'networksAdvanced has name "zhub-other-hub"; allowed: zhub-test-hub, zhub-test-directory',
    ),
    (
        "hub",
        {"networksAdvanced": [{**HUB_NETWORK, "ipv4Address": "172.17.0.1"}]},
        'networksAdvanced[zhub-test-hub].ipv4Address is "172.17.0.1"; allowed: not set',
    ),
    (
        "hub",
        {"networksAdvanced": [{**HUB_NETWORK, "aliases": ["hub", "registry"]}]},
        'networksAdvanced[zhub-test-hub].aliases is ["hub", "registry"]; allowed: ["hub"]',
    ),
    (
        "directory",
        {"networksAdvanced": [HUB_NETWORK]},
        (
            'networksAdvanced has name "zhub-test-hub"; allowed: zhub-test-directory\n'
            "networksAdvanced lacks name zhub-test-directory"
        ),
    ),
    ("guard", {"networksAdvanced": [HUB_NETWORK]}, ""),
    (
        "hub",
        {"ports": [{"internal": 8081, "external": 8081}]},
        "ports[0].internal is 8081, not the hub's own",
    ),
    (
        "hub",
        {"ports": [{**PORT, "protocol": "udp"}]},
        'ports[0].protocol is "udp"; allowed: not set, "tcp"',
    ),
    (
        "hub",
        {"ports": [PORT, {**PORT, "external": 443}]},
        f"ports is {shown([PORT, {**PORT, 'external': 443}])}; allowed: one",
    ),
    ("hub", {"ports": None}, "ports is not set; allowed: one"),
    *(
        (role, {"ports": [{**PORT, "ip": "127.0.0.1"}]}, "")
        for role in ("guard", "files", "directory")
    ),
    # Other programs on the engine act on labels.
    (
        "hub",
        {"labels": [*LABELS, {"label": "traefik.enable", "value": "true"}]},
        'labels has label "traefik.enable"; allowed: zhub.stack, zhub.role, zhub\\.[a-z-]+',
    ),
    (
        "hub",
        {"labels": [{"label": "zhub.stack", "value": "zhub-other"}, LABELS[1]]},
        'labels[zhub.stack].value is "zhub-other"; allowed: "zhub-test"',
    ),
    (
        "hub",
        {"labels": [LABELS[0], {"label": "zhub.role", "value": "notebook"}]},
        'labels[zhub.role].value is "notebook"; allowed: "hub"',
    ),
    ("hub", {"labels": None}, "labels lacks label zhub.stack\nlabels lacks label zhub.role"),
    ("hub", {"logDriver": "gelf", "logOpts": None}, f'logDriver is "gelf"; allowed: {DRIVERS}'),
    ("guard", {"logDriver": "none", "logOpts": None}, f'logDriver is "none"; allowed: {DRIVERS}'),
    (
        "hub",
        {"logDriver": "syslog", "logOpts": {"syslog-address": "tcp://me:secret@192.0.2.1"}},
        "logOpts.syslog-address holds a secret, which whoever may inspect containers can read",
    ),
    (
        "hub",
        {"logDriver": "journald", "logOpts": {"env-regex": ".*"}},
        'logOpts.env-regex is ".*"; allowed: not set',
    ),
    (
        "hub",
        {"logOpts": {"max-size": "10m", "max-file": "-1"}},
        'logOpts.max-file is "-1"; allowed: a number above 0, perhaps with k, m or g',
    ),
    (
        "hub",
        {"logOpts": {"max-file": "3"}},
        "logOpts.max-size is not set; allowed: a number above 0, perhaps with k, m or g",
    ),
    ("hub", {"logOpts": UNKNOWN_STRING_VALUE}, "logOpts is not known before `pulumi up`"),
    (
        "hub",
        {"logOpts": {"max-size": "1m", "max-file": "2", "env": "X"}},
        'logOpts.env is "X"; allowed: not set',
    ),
    ("files", {"logDriver": "json-file"}, 'logDriver is "json-file"; allowed: "none"'),
]
