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
drops what `worker` says in the same way.
*/}}
{{- define "ray-cluster.withoutNulls" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $kept $key (include "ray-cluster.withoutNulls" $value | fromJson) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $kept $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $kept -}}
{{- end -}}

{{/* The metrics that the group's autoscaler follows: the list in autoscaling.metrics, or else one entry per target. */}}
{{- define "ray-cluster.autoscalingMetrics" -}}
{{- $autoscaling := .autoscaling -}}
{{- $metrics := default list $autoscaling.metrics -}}
{{- if not $metrics -}}
{{- $beside := default list .sidecars -}}
{{- range .initContainers -}}
{{- if eq (default "" .restartPolicy) "Always" -}}
{{- $beside = append $beside . -}}
{{- end -}}
{{- end -}}
{{- $targets := dict "cpu" $autoscaling.targetCPUUtilizationPercentage "memory" $autoscaling.targetMemoryUtilizationPercentage -}}
{{- range $resource, $percentage := $targets -}}
{{- if $percentage -}}
{{- $source := dict "name" $resource "target" (dict "type" "Utilization" "averageUtilization" $percentage) -}}
{{- /* A Resource metric is the sum over all containers: beside a sidecar, only the ray container tells Ray's load. */ -}}
{{- if $beside -}}
{{- $_ := set $source "container" "ray-worker" -}}
{{- $metrics = append $metrics (dict "type" "ContainerResource" "containerResource" $source) -}}
{{- else -}}
{{- $metrics = append $metrics (dict "type" "Resource" "resource" $source) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $metrics -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
