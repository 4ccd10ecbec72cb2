{{/*
What the memory target of a group comes to.

  include "ray-cluster.memoryAdvice" (dict "name" $name "group" $group)           a sentence or two, or empty

The autoscaler compares used memory with the request. What an idle worker holds on to, Ray itself and an object store that
was full once and gives nothing back to the system, has to fit into one worker less, or the group never comes back down:

  idle + store <= target x request x min((n-1)/n, 0.9)

for n workers. 0.9 is the autoscaler's own tolerance, and the smallest n to come down from is the hardest.
*/}}

{{/* Memory of an idle worker without its object store, in bytes; measured with Ray 2.60. */}}
{{- define "ray-cluster.idleBytes" -}}
290000000
{{- end -}}

{{- define "ray-cluster.memoryAdvice" -}}
{{- $group := .group -}}
{{- $target := $group.autoscaling.targetMemoryUtilizationPercentage | float64 -}}
{{- $request := include "ray-cluster.bytes" (dig "requests" "memory" (dig "limits" "memory" "" $group.resources) $group.resources) | float64 -}}
{{- $scaled := and $group.autoscaling.enabled (not $group.autoscaling.metrics) $target (gt (int $group.autoscaling.maxReplicas) (int $group.autoscaling.minReplicas)) -}}
{{- if and $scaled $request -}}
{{- $number := max 2 (add 1 $group.autoscaling.minReplicas) -}}
{{- $allowed := mulf $target 0.01 $request (minf 0.9 (divf (sub $number 1) $number)) -}}
{{- $held := addf (include "ray-cluster.idleBytes" . | float64) (include "ray-cluster.objectStoreBytes" $group | float64) -}}
{{- if gt $held $allowed }}
{{ .name }}: once its object stores have been full, the group does not come back from {{ $number }} workers. An idle worker then holds {{ include "ray-cluster.mebibytes" $held }} (Ray itself and the store), and would have to hold less than {{ include "ray-cluster.mebibytes" $allowed }}. Lower objectStoreMemory, or raise the memory request.
{{- end }}
{{- $killed := mulf 0.95 (include "ray-cluster.memoryLimitBytes" $group | float64) -}}
{{- if ge (mulf $target 0.01 $request) $killed }}
{{ .name }}: the memory target is {{ include "ray-cluster.mebibytes" (mulf $target 0.01 $request) }}, but Ray kills tasks at 95 % of the memory limit, {{ include "ray-cluster.mebibytes" $killed }}, before the group can grow. Lower targetMemoryUtilizationPercentage, or raise the limit.
{{- end }}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.mebibytes" -}}
{{- printf "%.0f Mi" (divf . 1048576) -}}
{{- end -}}
