"""The texts of the service's files: units, system user, starter configuration. Pure.

The files under packaging/systemd are generated from here.
"""

from __future__ import annotations

__all__ = [
    "STARTER_CONFIG",
    "STARTER_FUNCTIONS",
    "SYSTEM_CONFIG",
    "SYSUSERS",
    "TMPFILES",
    "USER_NAME",
    "service_unit",
    "socket_unit",
    "user_service_unit",
    "user_socket_unit",
]

USER_NAME = "faasd"
SYSTEM_CONFIG = "/etc/faasd/faasd.toml"

#: What sysusers.d(5) and tmpfiles.d(5) make of it: a user without login, and directories before any start.
SYSUSERS = f'u {USER_NAME} - "faasd, functions as a service" /var/lib/faasd -\n'
TMPFILES = f"""\
d /etc/faasd 0755 root root -
d /var/lib/faasd 0750 {USER_NAME} {USER_NAME} -
"""

_HEAD = """\
# The daemon of faasd as a {what}. Written by `faasd service install` or a package, and written again by
# the next: put changes of your own into a drop-in (`systemctl {user}edit faasd`).
"""

_LIFE = """\
# READY=1 comes when events are accepted and run; a start or a drain that takes long asks for more time.
Type=notify
NotifyAccess=main
ExecStart={faasd} run --config {config}
# Waits for its end and fails when something is not as the files say; RELOADING=1 and READY=1 come from the daemon.
ExecReload={faasd} reload --config {config}
# The event loop feeds the watchdog. When it hangs, SIGABRT has the daemon log where, and it starts anew.
WatchdogSec=30s
TimeoutAbortSec=10s
# 78: the configuration is wrong, and starting again would not help.
Restart=on-failure
RestartSec=1s
RestartPreventExitStatus=78
# SIGTERM to the daemon alone, which lets attempts finish for `drain_timeout` and asks for as much time as
# that takes; to the attempts it would look like a crash. What is left afterwards is killed.
KillMode=mixed
TimeoutStopSec=90s
"""

_ROOM = """\
# Sandboxes get cgroups of their own below ours, with caps of memory, processes and CPU.
Delegate=yes
# An attempt that runs out of memory is its function's affair and not the end of the service.
OOMPolicy=continue
# A pipe or two and some pidfds per sandbox; each sandbox has its own limit, `open_files`.
LimitNOFILE=65536
# Memory may hold events and secrets, so it is not written to disk when the watchdog bites.
LimitCORE=0
"""

_FILTERS = """\
# The sandboxes do the same. Here it holds for the daemon too: no set-uid program makes more of it.
NoNewPrivileges=yes
# Nobody needs these system calls without privileges, except to attack the kernel. A list of what is
# allowed would have to hold whatever a function may ever call; sandboxes are filtered more closely.
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
# Rarely used sockets have had more than their share of holes. Bluetooth, CAN, VSOCK … need a drop-in.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# A busy function must not starve the machine, nor change how binaries are run.
RestrictRealtime=yes
LockPersonality=yes
# No function leaves a set-uid file behind through which another local user becomes this one.
RestrictSUIDSGID=yes
"""

_SYSTEM_WALLS = """\
# An ordinary user without any capability. User namespaces give sandboxes what they need inside.
CapabilityBoundingSet=
AmbientCapabilities=
# /usr, /boot and /etc are for reading. Not `strict`: functions write where their settings let them.
ProtectSystem=full
# Of devices only the harmless ones; a function that drives hardware needs a drop-in with PrivateDevices=no.
PrivateDevices=yes
# Shared memory of functions ends with the service.
RemoveIPC=yes
#
# Left out on purpose:
#   ProtectKernelTunables=, ProtectKernelLogs=, ProtectKernelModules=
#                                               lay mounts over parts of /proc, /sys and /usr, and the kernel
#                                               refuses sandboxes binds and overlays of what lies around them;
#                                               without capabilities there is nothing left to protect
#   ProtectProc=, ProcSubset=                   hide the processes of who asks at the socket, by which the
#                                               daemon tells an administrator from a sandbox
#   ProtectControlGroups=                       would make the delegated cgroups read-only
#   RestrictNamespaces=, PrivateUsers=          sandboxes are made of namespaces; root must stay root at the socket
#   ProtectHostname=                            sandboxes have a host name of their own
#   ProtectClock=                               closes every device, also with PrivateDevices=no
#   MemoryDenyWriteExecute=                     breaks just-in-time compilers, Node.js for one
#   PrivateTmp=, ProtectHome=                   folders in /tmp and /home are watched, and written to
#   IPAddressDeny=, PrivateNetwork=             functions talk to the network
"""


def service_unit(faasd: str, config: str = SYSTEM_CONFIG) -> str:
    """Return faasd.service of the system, for a program at this path."""
    return f"""\
{_HEAD.format(what="system service", user="")}
[Unit]
Description=faasd, functions as a service
# No wait for the network to be up: functions are retried, and files and schedules need none.
After=network.target remote-fs.target nss-user-lookup.target time-sync.target
# A daemon that ends again and again is started once a second for as long as it takes. The limit is for
# clients that keep waking a daemon that cannot start.
StartLimitIntervalSec=30s
StartLimitBurst=25

[Service]
{_LIFE.format(faasd=faasd, config=config)}
User={USER_NAME}
Group={USER_NAME}
# Functions and settings: read by the daemon, written by root.
ConfigurationDirectory=faasd
# The database and the logs: nobody else's.
StateDirectory=faasd
StateDirectoryMode=0750
# The socket. It stays while the service is down, because faasd.socket goes on listening there.
RuntimeDirectory=faasd
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes

{_ROOM}
{_FILTERS}{_SYSTEM_WALLS}
[Install]
WantedBy=multi-user.target
"""


def socket_unit() -> str:
    """Return faasd.socket of the system."""
    return f"""\
# systemd listens for faasd and hands the socket over. While the daemon is restarted nobody is refused, and
# whoever sends an event to a stopped daemon starts it: to stop it for good, stop faasd.socket too.
# The configuration must not name another `socket`; its `socket_group` is SocketGroup= here.

[Unit]
Description=faasd, socket

[Socket]
ListenStream=/run/faasd/faasd.sock
FileDescriptorName=api
SocketUser={USER_NAME}
SocketGroup={USER_NAME}
SocketMode=0660
DirectoryMode=0755
Backlog=1024
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def user_service_unit(faasd: str, config: str = "%E/faasd/faasd.toml") -> str:
    """Return faasd.service of one user, for a program at this path."""
    return f"""\
{_HEAD.format(what="service of one user", user="--user ")}
[Unit]
Description=faasd, functions as a service
StartLimitIntervalSec=30s
StartLimitBurst=25

[Service]
{_LIFE.format(faasd=faasd, config=config)}
# No StateDirectory=: before systemd 254 it meant ~/.config for users. The daemon makes ~/.local/state/faasd.
ConfigurationDirectory=faasd
RuntimeDirectory=faasd
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes

{_ROOM}
{_FILTERS}
[Install]
WantedBy=default.target
"""


def user_socket_unit() -> str:
    """Return faasd.socket of one user."""
    return """\
# systemd listens for faasd and hands the socket over. While the daemon is restarted nobody is refused, and
# whoever sends an event to a stopped daemon starts it: to stop it for good, stop faasd.socket too.

[Unit]
Description=faasd, socket

[Socket]
ListenStream=%t/faasd/faasd.sock
FileDescriptorName=api
SocketMode=0600
DirectoryMode=0700
Backlog=1024
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


STARTER_CONFIG = """\
# The configuration of faasd as a service. `faasd check` reads it and names every mistake;
# config.example.toml and docs/configuration.md have every setting.
# After a change: systemctl restart faasd (for one user: systemctl --user restart faasd).

[daemon]
functions = ["functions"]           # Each .py file in there may declare functions.

[defaults]
timeout = "60s"
memory = "256MiB"
retry = { attempts = 3, backoff = "exponential", first = "10s", max = "10m" }
"""

STARTER_FUNCTIONS = '''\
"""Two functions to see that the service works; delete them when you have your own."""

from faasd import every, function, queue


@function(triggers=[every("5m")])
def heartbeat(event, context):
    """Say when it was meant to run, every five minutes."""
    print("the clock says", event["scheduled_for"])


@function(triggers=[queue("greetings")])
def greet(event, context):
    """Greet whoever is enqueued. Try: faasd enqueue greetings '{"name": "Ada"}'"""
    name = event["body"]["name"]
    print("Hello,", name)
    return f"Hello, {name}"
'''
