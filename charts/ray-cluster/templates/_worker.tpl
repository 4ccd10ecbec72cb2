{{/*
Worker groups.

  range $name, $group := include "ray-cluster.workerGroups" $ | fromJson

gives every group with its complete values: the defaults in `worker`, and over them what `workerGroups.<name>` sets.

mergeOverwrite and not merge, because merge takes a group's false, 0 and [] for "not set". The copies keep one group's
settings out of the next one's, because mergeOverwrite changes its first argument. A group that is null does not exist: that
is how `workerGroups.default` goes.
*/}}
{{- define "ray-cluster.workerGroups" -}}
{{- $groups := dict -}}
{{- range $name, $overrides := .Values.workerGroups -}}
{{- if kindIs "map" $overrides -}}
{{- $_ := set $groups $name (mergeOverwrite (deepCopy $.Values.worker) (deepCopy $overrides)) -}}
{{- end -}}
{{- end -}}
{{- include "ray-cluster.withoutNulls" $groups -}}
{{- end -}}

{{/*
A map as JSON without the keys that are null. Helm drops a default that a values file sets to null; here a group's null
drops what `worker` says in the same way. Most hold none: those are taken as they are.
*/}}
{{- define "ray-cluster.withoutNulls" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
{{- if and (kindIs "map" $value) (contains ":null" (toJson $value)) -}}
{{- $_ := set $kept $key (include "ray-cluster.withoutNulls" $value | fromJson) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $kept $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $kept -}}
{{- end -}}

{{/*
The number of pods that the group's Deployment says; nothing where an autoscaler, or nobody, sets it.

What an upgrade no longer says goes back to one, and all but one of a live group's workers would go. So a number that was said
once, which an annotation tells, is said on as it is by now: with Helm 4 until another has changed it, whose it is then; with
Helm 3 for good, which tells nobody's fields apart. The chart looks at the cluster here and for its token (_auth.tpl). `helm template` cannot, and
neither can tools that use it: their users leave `replicas` at null, and nothing is ever said.
*/}}
{{- define "ray-cluster.workerReplicas" -}}
{{- if not (or .values.autoscaling.enabled (kindIs "invalid" .values.replicas)) -}}
{{- int .values.replicas -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .ctx.Release.Namespace (include "ray-cluster.workerName" .) -}}
{{- if dig "metadata" "annotations" "ray-cluster/replicas" "" $live -}}
{{- $applied := list -}}
{{- range $live.metadata.managedFields -}}
{{- if eq .operation "Apply" -}}
{{- $applied = append $applied (dig "f:spec" dict .fieldsV1 | keys | has "f:replicas") -}}
{{- end -}}
{{- end -}}
{{- /* No autoscaler wakes up what stands at 0 already. */}}
{{- if and $live.spec.replicas (or (empty $applied) (has true $applied)) -}}
{{- $live.spec.replicas -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The group's target utilisations that are on, in percent of the requests by resource, as JSON. */}}
{{- define "ray-cluster.autoscalingTargets" -}}
{{- $targets := dict -}}
{{- with .autoscaling.targetCPUUtilizationPercentage -}}
{{- $_ := set $targets "cpu" . -}}
{{- end -}}
{{- with .autoscaling.targetMemoryUtilizationPercentage -}}
{{- $_ := set $targets "memory" . -}}
{{- end -}}
{{- toJson $targets -}}
{{- end -}}

{{/* The container that the targets are about; nothing where the pod has no other: a pod's use is the sum over all of them. */}}
{{- define "ray-cluster.autoscalingContainer" -}}
{{- $beside := default list .sidecars -}}
{{- range .initContainers -}}
{{- if eq (default "" .restartPolicy) "Always" -}}
{{- $beside = append $beside . -}}
{{- end -}}
{{- end -}}
{{- if $beside -}}
ray-worker
{{- end -}}
{{- end -}}

{{/* The metrics that the group's autoscaler follows: the list in autoscaling.metrics, or else one entry per target. */}}
{{- define "ray-cluster.autoscalingMetrics" -}}
{{- $metrics := default list .autoscaling.metrics -}}
{{- if not $metrics -}}
{{- $container := include "ray-cluster.autoscalingContainer" . -}}
{{- range $resource, $percentage := include "ray-cluster.autoscalingTargets" . | fromJson -}}
{{- $source := dict "name" $resource "target" (dict "type" "Utilization" "averageUtilization" (int $percentage)) -}}
{{- if $container -}}
{{- $metrics = append $metrics (dict "type" "ContainerResource" "containerResource" (set $source "container" $container)) -}}
{{- else -}}
{{- $metrics = append $metrics (dict "type" "Resource" "resource" $source) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $metrics -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* The triggers of a worker's ScaledObject: one per target, demand, and those in autoscaling.keda.triggers. */}}
{{- define "ray-cluster.kedaTriggers" -}}
{{- $group := .values -}}
{{- $triggers := list -}}
{{- $container := include "ray-cluster.autoscalingContainer" $group -}}
{{- range $resource, $percentage := include "ray-cluster.autoscalingTargets" $group | fromJson -}}
{{- $metadata := dict "value" (int $percentage | toString) -}}
{{- with $container -}}
{{- $_ := set $metadata "containerName" . -}}
{{- end -}}
{{- $triggers = append $triggers (dict "type" $resource "metricType" "Utilization" "metadata" $metadata) -}}
{{- end -}}
{{- if $group.autoscaling.demand.enabled -}}
{{- $triggers = append $triggers (include "ray-cluster.demandTrigger" . | fromYaml) -}}
{{- end -}}
{{- with concat $triggers (default list $group.autoscaling.keda.triggers) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
