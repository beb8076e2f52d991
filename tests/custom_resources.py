"""The custom resources that our manifests use, field by field: the schemas of Kubernetes do not know them.

Only fields that we use are here, by the reference pages of KEDA (ScaledObject specification), the Prometheus operator
(API reference) and the Gateway API (API specification). Everything else is refused: a misspelt key is one that the
cluster would drop or refuse. Who uses another field adds it here, by its page.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
HostName = Annotated[
    str,
    StringConstraints(pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
Port = Annotated[int, Field(ge=1, le=65535)]
PrometheusDuration = Annotated[str, StringConstraints(pattern=r"^(\d+(y|w|d|h|m|s|ms))+$")]
GatewayDuration = Annotated[str, StringConstraints(pattern=r"^(\d{1,5}(h|m|s|ms)){1,4}$")]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(_Part):
    """What every object has."""

    name: Name
    namespace: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ScaleTarget(_Part):
    """KEDA: a Deployment where no kind is named."""

    name: Name


class Fallback(_Part):
    """KEDA: how many pods while the trigger fails."""

    failure_threshold: int = Field(ge=1)
    replicas: int = Field(ge=1)


class ScalingPolicy(_Part):
    """Kubernetes, HorizontalPodAutoscaler v2: at most so much in so long."""

    type: Literal["Percent", "Pods"]
    value: int = Field(ge=1)
    period_seconds: int = Field(ge=1, le=1800)


class ScalingRules(_Part):
    """Kubernetes, HorizontalPodAutoscaler v2."""

    stabilization_window_seconds: int = Field(ge=0, le=3600)
    policies: list[ScalingPolicy] = Field(min_length=1)


class Behavior(_Part):
    """Kubernetes, HorizontalPodAutoscaler v2."""

    scale_up: ScalingRules
    scale_down: ScalingRules


class AutoscalerConfig(_Part):
    """KEDA: `advanced.horizontalPodAutoscalerConfig`."""

    behavior: Behavior


class Advanced(_Part):
    """KEDA."""

    horizontal_pod_autoscaler_config: AutoscalerConfig


class PrometheusQuery(_Part):
    """KEDA, scaler *Prometheus*: every value is a string."""

    server_address: Annotated[str, StringConstraints(pattern=r"^https?://")]
    query: str
    threshold: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?$")]
    ignore_null_values: Literal["true", "false"] = "true"


class Trigger(_Part):
    """KEDA."""

    type: Literal["prometheus"]
    metric_type: Literal["AverageValue", "Value"] = "AverageValue"
    metadata: PrometheusQuery


class Scaling(_Part):
    """KEDA: a ScaledObject's `spec`."""

    scale_target_ref: ScaleTarget
    polling_interval: int = Field(ge=1)
    min_replica_count: int = Field(ge=0)
    max_replica_count: int = Field(ge=1)
    fallback: Fallback
    advanced: Advanced
    triggers: list[Trigger] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.min_replica_count <= self.fallback.replicas <= self.max_replica_count:
            raise ValueError("the fallback must lie between the least and the most pods")
        if any(trigger.metric_type != "AverageValue" for trigger in self.triggers):
            raise ValueError("KEDA has a fallback for triggers of type AverageValue")
        return self


class ScaledObject(_Part):
    """KEDA."""

    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: Scaling


class Selector(_Part):
    """Kubernetes: LabelSelector."""

    match_labels: dict[str, str] = Field(min_length=1)


class Relabeling(_Part):
    """Prometheus operator: RelabelConfig with the action `replace`."""

    source_labels: list[LabelName] = Field(min_length=1)
    target_label: LabelName


class PodMetricsEndpoint(_Part):
    """Prometheus operator: which named port of the pods is scraped."""

    port: Name
    path: Annotated[str, StringConstraints(pattern=r"^/")]
    interval: PrometheusDuration
    relabelings: list[Relabeling] = []


class Monitoring(_Part):
    """Prometheus operator: a PodMonitor's `spec`."""

    job_label: str
    selector: Selector
    pod_metrics_endpoints: list[PodMetricsEndpoint] = Field(min_length=1)


class PodMonitor(_Part):
    """Prometheus operator."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: Monitoring


class Rule(_Part):
    """Prometheus operator: what an expression is recorded as, or the alert that it raises."""

    record: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")] | None = None
    alert: str | None = None
    expr: str
    for_: PrometheusDuration | None = Field(None, alias="for")
    labels: dict[LabelName, str] = {}
    annotations: dict[LabelName, str] = {}

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.record is None) == (self.alert is None):
            raise ValueError("a rule has either `record` or `alert`")
        if self.record is not None and (self.for_ is not None or self.annotations):
            raise ValueError("`for` and `annotations` belong to alerts")
        return self


class RuleGroup(_Part):
    """Prometheus operator."""

    name: str
    rules: list[Rule] = Field(min_length=1)


class Rules(_Part):
    """Prometheus operator: a PrometheusRule's `spec`."""

    groups: list[RuleGroup] = Field(min_length=1)


class PrometheusRule(_Part):
    """Prometheus operator."""

    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: Rules


class ParentReference(_Part):
    """Gateway API: the Gateway, and which of its listeners."""

    name: Name
    namespace: Name
    section_name: Name


class PathMatch(_Part):
    """Gateway API: HTTPPathMatch."""

    type: Literal["Exact", "PathPrefix"]
    value: Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)]


class Match(_Part):
    """Gateway API: HTTPRouteMatch."""

    path: PathMatch


class Timeouts(_Part):
    """Gateway API: HTTPRouteTimeouts; 0s means none."""

    request: GatewayDuration
    backend_request: GatewayDuration


class BackendReference(_Part):
    """Gateway API: a Service of the route's own namespace, and its port."""

    name: Name
    port: Port


class RouteRule(_Part):
    """Gateway API: HTTPRouteRule."""

    matches: list[Match] = Field(min_length=1, max_length=64)
    timeouts: Timeouts
    backend_refs: list[BackendReference] = Field(min_length=1, max_length=16)


class Routing(_Part):
    """Gateway API: an HTTPRoute's `spec`."""

    parent_refs: list[ParentReference] = Field(min_length=1)
    hostnames: list[HostName] = Field(min_length=1, max_length=16)
    rules: list[RouteRule] = Field(min_length=1, max_length=16)


class HTTPRoute(_Part):
    """Gateway API."""

    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: Routing


KINDS: Final[dict[str, type[BaseModel]]] = {
    kind.__name__: kind for kind in (ScaledObject, PodMonitor, PrometheusRule, HTTPRoute)
}


def validate(manifest: dict[str, Any]) -> None:
    """Raise `pydantic.ValidationError` when a custom resource has a key that it does not know, or a wrong value."""
    KINDS[manifest["kind"]].model_validate(manifest)
