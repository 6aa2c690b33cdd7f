"""What the policies of iked.conf(5) are made of.

Each method is a production of OpenBSD's grammar, under its name; `ppk` and `addke` are ours.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from secd.conf import addresses
from secd.conf.addresses import Address
from secd.conf.iked import secrets, transforms
from secd.conf.iked.keywords import ADDITIONAL
from secd.conf.iked.rules import EAP, PPK, PSK, ConfigItem, End, Eval, Hosts, Proposal, SignatureMethod, Signed
from secd.conf.iked.secrets import BadSecretError
from secd.conf.lexer import NUMBER, STRING
from secd.conf.lines import Lines

MAX_HOSTS = 256  # `from .. to ..` of one policy
MAX_PROTOS = 256
MAX_PROPOSALS = 16  # `ikesa` or `childsa` of one policy
MAX_TRANSFORMS = 64  # of one proposal
MAX_CONFIG = 32  # `config` and `request` of one policy
MAX_SECONDS = 0xFFFFFFFF
MAX_BYTES = 1 << 62
MAX_RDOMAIN = 255

DEFAULT_LIFETIME = 3 * 3600
DEFAULT_BYTES = 4 * 1024**3

CONFIG_OPTIONS = (
    "address", "netmask", "name-server", "netbios-server", "dhcp-server", "protected-subnet", "access-server",
)  # fmt: skip
METHODS: tuple[SignatureMethod, ...] = ("rsa", "ecdsa256", "ecdsa384", "ecdsa521", "rfc7427")

_TIMES = {"m": 60, "h": 3600}
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_ESN = {"esn": True, "noesn": False}

T = TypeVar("T")


class Phrases(Lines):
    """The parts of a policy."""

    def ikematch(self) -> Eval:
        """`default`, `quick` or `skip`."""
        kind = self.accept("default", "quick", "skip")
        return "default" if kind == "default" else "quick" if kind == "quick" else "skip" if kind else ""

    def satype(self) -> Literal["esp", "ah"]:
        """`esp` or `ah`."""
        return "ah" if self.accept("esp", "ah") == "ah" else "esp"

    def af(self) -> Literal[0, 4, 6]:
        """`inet` or `inet6`; 0 for both."""
        kind = self.accept("inet", "inet6")
        return 4 if kind == "inet" else 6 if kind else 0

    def proto(self) -> tuple[int, ...]:
        """`proto P`, `proto { P, P }`; () for all."""
        if not self.accept("proto"):
            return ()
        if not self.accept("{"):
            return (self.protocol(),)
        found = [self.protocol()]
        while self.peek() != "}":
            self.accept(",")
            found.append(self.protocol())
            if len(found) > MAX_PROTOS:
                self.fail(f"more than {MAX_PROTOS} protocols in a list")
        self.take()
        return tuple(found)

    def rdomain(self) -> int | None:
        """`rdomain N`."""
        if not self.accept("rdomain"):
            return None
        number = self.expect(NUMBER).number
        if not 0 <= number <= MAX_RDOMAIN:
            self.fail("rdomain outside range")
        return number

    # -- hosts --------------------------------------------------------------------------------------------

    def hosts_list(self) -> tuple[Hosts, ...]:
        """`from .. to ..`, once or more often."""
        found = self._hosts()
        while self.accept(",") or self.peek() in ("from", "to"):
            found += self._hosts()
            if len(found) > MAX_HOSTS:
                self.fail(f"more than {MAX_HOSTS} traffic selectors in a policy")
        return tuple(found)

    def _hosts(self) -> list[Hosts]:
        """Give each pair of addresses that are of one family."""
        if self.peek() not in ("from", "to"):
            self.syntax_error("from", "to")
        first = self.take().kind
        one = self._ends()
        self.expect("to" if first == "from" else "from")
        other = self._ends()
        sources, destinations = (one, other) if first == "from" else (other, one)
        if len(sources) * len(destinations) > MAX_HOSTS:
            self.fail(f"more than {MAX_HOSTS} traffic selectors in a policy")
        pairs = [
            Hosts(source, destination)
            for source in sources
            for destination in destinations
            if not source.address or not destination.address or source.address.family == destination.address.family
        ]
        if not pairs:
            self.fail("cannot mix different address families.")
        return pairs

    def _ends(self) -> list[End]:
        """A host, `any` or `dynamic`; the port may stand before or after what is in parentheses."""
        if self.accept("dynamic"):
            return [End(None, port=self.port())]
        hosts = addresses.ANY if self.accept("any") else self._host_spec()
        port = self.port()
        nat = None
        if self.accept("("):
            nat = self._host_spec()[0]
            self.expect(")")
        port = port or self.port()
        return [End(host, nat, port) for host in hosts]

    def _host_spec(self) -> tuple[Address, ...]:
        if self.peek() != STRING:
            self.syntax_error(STRING, "any")
        return self.resolve(self.take().text, self.prefix())

    def peers(self, family: Literal[0, 4, 6]) -> tuple[Address | None, Address | None]:
        """`local ..` and `peer ..`, in either order; None is `any`."""
        found: dict[str, tuple[Address, ...]] = {}
        while (kind := self.peek()) in ("local", "peer") and kind not in found:
            self.take()
            found[kind] = () if self.accept("any") else self._of_family(family, self._host_spec())
        local, peer = found.get("local", ()), found.get("peer", ())
        families = {each.family for each in local} & {each.family for each in peer}
        if local and peer and not families:
            self.fail("local and peer are of different address families")
        return _first(local, families), _first(peer, families)

    def _of_family(self, family: Literal[0, 4, 6], found: tuple[Address, ...]) -> tuple[Address, ...]:
        wanted = tuple(address for address in found if family in (0, address.family))
        if not wanted:
            self.fail("policy address family mismatch", f"{found[0]} is not inet{'6' if family == 6 else ''}")
        return wanted

    # -- proposals ----------------------------------------------------------------------------------------

    def ike_sas(self) -> tuple[Proposal, ...]:
        """`ikesa ..`, any number of times."""
        return self._proposals("ikesa", transforms.IKE_ENCRYPTION)

    def child_sas(self) -> tuple[Proposal, ...]:
        """`childsa ..`, any number of times."""
        return self._proposals("childsa", transforms.CHILD_ENCRYPTION)

    def _proposals(self, keyword: str, ciphers: tuple[transforms.Encryption, ...]) -> tuple[Proposal, ...]:
        found: list[Proposal] = []
        while self.accept(keyword):
            found.append(self._transforms(keyword, ciphers))
            if len(found) > MAX_PROPOSALS:
                self.fail(f"more than {MAX_PROPOSALS} proposals of {keyword}")
        return tuple(found)

    def _transforms(self, keyword: str, ciphers: tuple[transforms.Encryption, ...]) -> Proposal:
        """`auth ..`, `enc ..`, `prf ..`, `group ..`, `esn`, `noesn`, `addke1 ..`: in any order, any number of times."""
        said: dict[str, list[str]] = {}
        esn: list[bool] = []
        for _ in range(MAX_TRANSFORMS):
            kind = self.accept("auth", "enc", "prf", "group", "esn", "noesn", *ADDITIONAL)
            if not kind:
                break
            if kind in _ESN:
                esn.append(_ESN[kind])
            else:
                said.setdefault(kind, []).append(self._transform(kind, ciphers))
        else:
            self.fail(f"more than {MAX_TRANSFORMS} transforms in a proposal")
        if keyword == "ikesa" and esn:
            self.fail("cannot use ESN with ikesa.")
        if keyword == "childsa" and "prf" in said:
            self.fail("prf goes with ikesa, not with childsa")
        return Proposal(
            _unique(said.get("auth", ())), _unique(said.get("enc", ())), _unique(said.get("prf", ())),
            _unique(said.get("group", ())), _unique(esn), self._additional(said),
        )  # fmt: skip

    def _additional(self, said: dict[str, list[str]]) -> tuple[tuple[str, ...], ...]:
        """Give the rounds of additional key exchanges, which begin with the first and leave none out."""
        rounds = [_unique(said[word]) for word in ADDITIONAL if word in said]
        missing = next((word for word in ADDITIONAL[: len(rounds)] if word not in said), "")
        if missing:
            self.fail(f"{missing} is missing: additional key exchanges are numbered from addke1 on")
        return tuple(rounds)

    def _transform(self, kind: str, ciphers: tuple[transforms.Encryption, ...]) -> str:
        name = self.string()
        table: tuple[transforms.Transform, ...] | tuple[transforms.Encryption, ...]
        if kind == "enc":
            table = ciphers
            entry: transforms.Transform | transforms.Encryption | None = transforms.find_encryption(ciphers, name)
        else:
            table = {"auth": transforms.AUTHENTICATION, "prf": transforms.PRF}.get(kind, transforms.GROUPS)
            entry = transforms.find_transform(table, name)
        if entry is None:
            word = "group" if kind.startswith("addke") else kind
            self.fail(f"{name} not a valid transform", f"{word} is one of: {' '.join(each.name for each in table)}")
        if entry.value is None:
            self.fail(f"{kind} {entry.name} is not available here: write {entry.instead}")
        return entry.alias or entry.name

    # -- the rest -----------------------------------------------------------------------------------------

    def ids(self) -> tuple[str | None, str | None]:
        """`srcid ..` and `dstid ..`, in this order."""
        return self._id("srcid"), self._id("dstid")

    def _id(self, keyword: str) -> str | None:
        return self.string() if self.accept(keyword) else None

    def ikelifetime(self) -> int:
        """`ikelifetime TIME`."""
        return self._amount(_TIMES, MAX_SECONDS, "time") if self.accept("ikelifetime") else 0

    def lifetime(self) -> tuple[int, int]:
        """`lifetime TIME [bytes BYTES]`."""
        if not self.accept("lifetime"):
            return DEFAULT_LIFETIME, DEFAULT_BYTES
        time = self._amount(_TIMES, MAX_SECONDS, "time")
        return time, self._amount(_BYTES, MAX_BYTES, "byte") if self.accept("bytes") else DEFAULT_BYTES

    def _amount(self, units: dict[str, int], maximum: int, what: str) -> int:
        """A number, or one with a unit, as `8h`."""
        if self.peek() == NUMBER:
            number = self.take().number
        else:
            text = self.string()
            digits, unit = text[:-1], units.get(text[-1:].lower(), 0)
            if not unit:
                self.fail(f"invalid {what} unit", f"units are {', '.join(units)}; without one it is seconds or octets")
            if not digits.isascii() or not digits.isdecimal() or len(digits) > 20:
                self.fail(f"invalid {what} specification {text[:40]}")
            number = int(digits) * unit
        if not 0 <= number <= maximum:
            self.fail(f"{what} outside range: 0 to {maximum}")
        return number

    def ikeauth(self) -> PSK | Signed | EAP:
        """`psk ..`, `eap ..`, a signature's name; or nothing, which is any signature."""
        if self.accept("psk"):
            return PSK(self._keyspec("psk"))
        if self.accept("eap"):
            return EAP(self.string())
        if self.peek() != STRING:
            return Signed()
        name = self.take().text
        method = next((method for method in METHODS if method == name), None)
        if method is None:
            self.fail("not a valid authentication mode", f"it is one of: psk eap {' '.join(METHODS)}")
        return Signed(method)

    def ppk(self) -> PPK | None:
        """`ppk [optional] .. ppkid NAME`."""
        if not self.accept("ppk"):
            return None
        required = not self.accept("optional")
        octets = self._keyspec("ppk")
        self.expect("ppkid")
        return PPK(octets, self.string(), required)

    def _keyspec(self, what: str) -> bytes:
        try:
            if self.accept("file"):
                return secrets.from_file(self.string())
            return secrets.from_text(self.string())
        except BadSecretError as error:
            self.fail(f"{what}: {error}")

    def ikecfg(self) -> tuple[ConfigItem, ...]:
        """`config OPTION ADDRESS` and `request OPTION ADDRESS`, any number of times."""
        found: list[ConfigItem] = []
        while kind := self.accept("config", "request"):
            option = self.string()
            if option not in CONFIG_OPTIONS:
                self.fail("not a valid ikecfg option", f"it is one of: {' '.join(CONFIG_OPTIONS)}")
            anything = kind == "request" and self.accept("any")
            found.append(ConfigItem(kind == "config", option, None if anything else self._host_spec()[0]))
            if len(found) > MAX_CONFIG:
                self.fail(f"more than {MAX_CONFIG} configuration payloads")
        return tuple(found)

    def iface(self) -> str | None:
        """`iface NAME`."""
        return self.string() if self.accept("iface") else None

    def filters(self) -> tuple[str | None, str | None]:
        """`tag ..` and `tap ..`, in either order."""
        found: dict[str, str] = {}
        while (kind := self.peek()) in ("tag", "tap"):
            self.take()
            if kind in found:
                self.fail(f"{kind} already set")
            found[kind] = self.string()
        return found.get("tag"), found.get("tap")


def _first(found: tuple[Address, ...], families: set[Literal[4, 6]]) -> Address | None:
    return next((address for address in found if not families or address.family in families), None)


def _unique(said: list[T] | tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(said))
