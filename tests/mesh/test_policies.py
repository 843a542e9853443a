"""deploy/mesh: the limits and repeats of each example, method by method, as its proxy would read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from pushrpc.v1 import service_pb2

ROOT = Path(__file__).parent.parent.parent
MESH = ROOT / "deploy" / "mesh"
SERVICE = service_pb2.DESCRIPTOR.services_by_name["PushService"]
METHODS = [f"{SERVICE.full_name}/{name}" for name in SERVICE.methods_by_name]
STREAMS = [f"{SERVICE.full_name}/{method.name}" for method in SERVICE.methods if method.server_streaming]
WATCH = f"{health_pb2.DESCRIPTOR.services_by_name['Health'].full_name}/Watch"
REFLECTION = ["grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME]
SURELY_NOT_PROCESSED = {"connect-failure", "refused-stream"}
WAIT_S = 30


class Policy(NamedTuple):
    """A proxy's for one method: its limits by name, in seconds, and what it repeats."""

    limits_s: dict[str, float]
    repeats: set[str]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MESH / name).read_text()))


def seconds(text: str) -> float:
    assert text.endswith("s") and not text.endswith("ms")
    return float(text[:-1])


def envoy(method: str) -> Policy:
    """The first route that matches; 0s is no timeout (RouteAction.timeout)."""
    (listener,) = documents("envoy.yaml")[0]["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert seconds(manager["stream_idle_timeout"]) == 0
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if f"/{method}" == route["match"].get("path") or f"/{method}".startswith(route["match"].get("prefix", "!")):
            limit = seconds(route["route"]["timeout"])
            retry = route["route"].get("retry_policy", {"retry_on": ""})["retry_on"]
            return Policy({"request": limit} if limit else {}, set(retry.split(",")) - {""})
    raise AssertionError(f"no route for {method}")


def istio(method: str) -> Policy:
    """The first route that matches; a timeout below 1 ms is refused (ValidateDuration), without one there is none."""
    (service,) = (each for each in documents("istio.yaml") if each["kind"] == "VirtualService")
    for route in service["spec"]["http"]:
        if f"/{method}" in [match["uri"]["exact"] for match in route.get("match", [])] or "match" not in route:
            limits = {"request": seconds(route["timeout"])} if "timeout" in route else {}
            assert 0 not in limits.values(), "such a VirtualService is refused"
            retries = route["retries"]  # where it is missing, Istio repeats more than we want
            return Policy(limits, set(retries["retryOn"].split(",")) if retries["attempts"] else set())
    raise AssertionError(f"no route for {method}")


def linkerd(method: str) -> Policy:
    """The most particular match of all routes (GRPCRoute); annotations are taken at their word, also 0s."""
    service, _, name = method.partition("/")
    found: list[tuple[int, dict[str, str]]] = []
    for route in documents("linkerd.yaml"):
        for rule in route["spec"]["rules"]:
            for match in (each["method"] for each in rule["matches"]):
                if match["service"] == service and match.get("method", name) == name:
                    found.append((len(match.get("method", "")), route["metadata"].get("annotations", {})))
    assert found, f"no route for {method}: the proxy refuses it"
    _, annotations = max(found, key=lambda each: each[0])
    limits = {
        key.rpartition("/")[2]: seconds(value)
        for key, value in annotations.items()
        if key.startswith("timeout.linkerd.io/")
    }
    return Policy(limits, set(annotations.get("retry.linkerd.io/grpc", "").split(",")) - {""})


PROXIES: list[Callable[[str], Policy]] = [envoy, istio, linkerd]


@pytest.mark.parametrize("proxy", PROXIES)
def test_nothing_cuts_a_stream_or_repeats_one(proxy: Callable[[str], Policy]) -> None:
    for method in [*STREAMS, WATCH]:
        assert not proxy(method).limits_s and not proxy(method).repeats, method


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_unary_call_has_time_for_the_longest_wait(proxy: Callable[[str], Policy]) -> None:
    for method in set(METHODS) - set(STREAMS):
        assert list(proxy(method).limits_s) == ["request"], method
        assert WAIT_S < proxy(method).limits_s["request"] < 2 * WAIT_S, method


@pytest.mark.parametrize("proxy", PROXIES)
def test_only_what_is_safe_is_repeated(proxy: Callable[[str], Policy]) -> None:
    config = json.loads((ROOT / "proto" / "service_config.json").read_text())
    safe = {
        f"{name['service']}/{name['method']}": {code.lower() for code in part["retryPolicy"]["retryableStatusCodes"]}
        for part in config["methodConfig"]
        if "retryPolicy" in part
        for name in part["name"]
    }
    for method in METHODS:
        repeats = proxy(method).repeats - SURELY_NOT_PROCESSED
        assert repeats <= safe.get(method, set()), method
        if proxy is linkerd:  # which repeats nothing else
            assert repeats == safe.get(method, set()), method


def test_linkerd_lets_health_and_reflection_through() -> None:
    for service in [health.SERVICE_NAME, *REFLECTION]:
        assert not linkerd(f"{service}/Any").repeats


def test_linkerd_accepts_the_routes() -> None:
    """GRPCRoute allows 16 rules and 8 matches in each; Linkerd's status says "parent service must have a ClusterIP"."""
    services = {
        each["metadata"]["name"]: each["spec"] for each in documents("kubernetes.yaml") if each["kind"] == "Service"
    }
    for route in documents("linkerd.yaml"):
        (parent,) = route["spec"]["parentRefs"]
        spec = services[parent["name"]]
        assert spec.get("clusterIP") != "None" and parent["port"] in [port["port"] for port in spec["ports"]]
        assert len(route["spec"]["rules"]) <= 16
        for rule in route["spec"]["rules"]:
            assert 1 <= len(rule["matches"]) <= 8
            assert rule["backendRefs"] == [{"name": parent["name"], "port": parent["port"]}]


def test_the_stateful_set_has_its_headless_service_and_istio_the_other() -> None:
    objects = {(each["kind"], each["metadata"]["name"]): each for each in documents("kubernetes.yaml")}
    stateful = objects["StatefulSet", "pushrpc"]["spec"]
    assert objects["Service", stateful["serviceName"]]["spec"]["clusterIP"] == "None"
    hosts = {each["spec"].get("host") or each["spec"]["hosts"][0] for each in documents("istio.yaml")}
    assert hosts == {"pushrpc"} and "clusterIP" not in objects["Service", "pushrpc"]["spec"]
    for (kind, _), each in objects.items():
        if kind == "Service":
            assert each["spec"]["selector"] == stateful["template"]["metadata"]["labels"]
