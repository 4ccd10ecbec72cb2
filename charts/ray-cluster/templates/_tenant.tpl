{{/*
What a tenant's quota counts of the release.

  include "ray-cluster.quotaUse" $ | fromJson

gives, for each entry of the quota that pods count against, `hard` and `used` as numbers (millicores, bytes, pieces), where
`used` is the release at its largest: every group at its upper limit, in the middle of an update. `parts` says what that is
made of, and `unstated` which containers Kubernetes would refuse, because they do not state what the quota counts.

It is read from the pods as they are rendered, and counted as Kubernetes counts. Two things are not known here: a runtime
class's overhead, and a priority class that the Kubernetes cluster gives to pods without one.
*/}}
{{- define "ray-cluster.quotaUse" -}}
{{- $use := dict -}}
{{- $quota := .Values.tenant.resourceQuota -}}
{{- if $quota.enabled -}}
{{- $defaults := include "ray-cluster.containerDefaults" .Values.tenant.limitRange | fromJson -}}
{{- $pods := include "ray-cluster.quotaPods" . | fromJsonArray -}}
{{- range $name, $hard := include "ray-cluster.withoutNulls" (default dict $quota.hard) | fromJson -}}
{{- $what := include "ray-cluster.quotaEntry" $name | fromJson -}}
{{- if $what -}}
{{- $used := 0 -}}
{{- $parts := list -}}
{{- $unstated := list -}}
{{- range $pod := $pods -}}
{{- $of := merge (dict "spec" $pod.spec "defaults" $defaults) $what -}}
{{- $each := include "ray-cluster.podQuantity" $of | float64 -}}
{{- $here := mulf $each (add $pod.count $pod.surge) -}}
{{- if $here -}}
{{- $count := $pod.surge | empty | ternary (printf "%v" $pod.count) (printf "(%v + %v during an update)" $pod.count $pod.surge) -}}
{{- $parts = append $parts (printf "%s %s x %s" $pod.path $count (include "ray-cluster.quantityText" (dict "resource" $what.resource "number" $each))) -}}
{{- $used = addf $used $here -}}
{{- end -}}
{{- range include "ray-cluster.unstated" $of | fromJsonArray -}}
{{- $unstated = append $unstated (printf "container %s of %s" . $pod.path) -}}
{{- end -}}
{{- end -}}
{{- $number := include "ray-cluster.quantityNumber" (dict "resource" $what.resource "quantity" $hard) | float64 -}}
{{- $_ := set $use $name (merge (dict "hard" $number "used" $used "parts" $parts "unstated" $unstated) $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $use -}}
{{- end -}}

{{/*
What an entry of a quota adds up: the `requests` or `limits` of a `resource`, or pods; nothing if it is not about pods.
`stated`: CPU and memory have to be stated by every container, or Kubernetes refuses the pod.
*/}}
{{- define "ray-cluster.quotaEntry" -}}
{{- $what := dict -}}
{{- if has . (list "pods" "count/pods") -}}
{{- $what = dict "list" "" "resource" "pods" -}}
{{- else if regexMatch `^limits\.` . -}}
{{- $what = dict "list" "limits" "resource" (trimPrefix "limits." .) -}}
{{- else if regexMatch `^((requests\.)?(cpu|memory|ephemeral-storage|hugepages-.*)|requests\..*/.*)$` . -}}
{{- $what = dict "list" "requests" "resource" (trimPrefix "requests." .) -}}
{{- end -}}
{{- if has $what.resource (list "cpu" "memory") -}}
{{- $_ := set $what "stated" true -}}
{{- end -}}
{{- toJson $what -}}
{{- end -}}

{{/* The release's pods that the quota counts: `path` of their values, `count`, `surge` and `spec`. */}}
{{- define "ray-cluster.quotaPods" -}}
{{- $pods := list -}}
{{- $nodes := list (dict "ctx" $ "component" "head" "path" "head" "values" (include "ray-cluster.withoutNulls" .Values.head | fromJson) "count" 1 "surge" 0) -}}
{{- range $name, $group := include "ray-cluster.workerGroups" $ | fromJson -}}
{{- $count := $group.autoscaling.enabled | ternary $group.autoscaling.maxReplicas (dig "replicas" 1 $group) | int -}}
{{- $surge := include "ray-cluster.surge" (dict "count" $count "strategy" $group.strategy) | int -}}
{{- $nodes = append $nodes (dict "ctx" $ "component" "worker" "group" $name "path" (printf "workerGroups.%s" $name) "values" $group "count" $count "surge" $surge) -}}
{{- end -}}
{{- range $node := $nodes -}}
{{- $spec := dig "spec" dict (include "ray-cluster.podTemplate" $node | fromYaml) -}}
{{- if include "ray-cluster.quotaCounts" (dict "spec" $spec "quota" $.Values.tenant.resourceQuota) -}}
{{- $numbers := $.Values.suspend | ternary (dict "count" 0 "surge" 0) (pick $node "count" "surge") -}}
{{- $pods = append $pods (merge (dict "path" $node.path "spec" $spec) $numbers) -}}
{{- end -}}
{{- end -}}
{{- toJson $pods -}}
{{- end -}}

{{/* Pods that an update adds: never more than there are, and by default a quarter of them. */}}
{{- define "ray-cluster.surge" -}}
{{- $strategy := default dict .strategy -}}
{{- $surge := dig "rollingUpdate" "maxSurge" "25%" $strategy | toString -}}
{{- if eq (toString $strategy.type) "Recreate" -}}
{{- $surge = 0 -}}
{{- else if hasSuffix "%" $surge -}}
{{- $surge = mulf .count (trimSuffix "%" $surge | float64) 0.01 | ceil -}}
{{- end -}}
{{- min .count $surge -}}
{{- end -}}

{{/* Not empty if a pod is in all scopes of the quota. Ray's pods have no deadline, and request memory always. */}}
{{- define "ray-cluster.quotaCounts" -}}
{{- $class := default "" .spec.priorityClassName -}}
{{- $scopes := dig "matchExpressions" list (default dict .quota.scopeSelector) | default list -}}
{{- range .quota.scopes -}}
{{- $scopes = append $scopes (dict "scopeName" . "operator" "Exists") -}}
{{- end -}}
{{- $counts := true -}}
{{- range $scopes -}}
{{- if eq .scopeName "PriorityClass" -}}
{{- $listed := has $class (default list .values) -}}
{{- $operators := dict "In" $listed "NotIn" (not $listed) "Exists" (ne $class "") "DoesNotExist" (eq $class "") -}}
{{- $counts = and $counts (get $operators .operator) -}}
{{- else -}}
{{- $counts = and $counts (has .scopeName (list "NotBestEffort" "NotTerminating")) -}}
{{- end -}}
{{- end -}}
{{- if $counts -}}
true
{{- end -}}
{{- end -}}

{{/*
What a LimitRange gives to containers that state nothing, completed like Kubernetes does: a limit is the maximum unless a
default says otherwise, a request the limit or else the minimum.
*/}}
{{- define "ray-cluster.containerDefaults" -}}
{{- $defaults := dict "requests" dict "limits" dict -}}
{{- if .enabled -}}
{{- range .limits -}}
{{- if eq .type "Container" -}}
{{- $limits := merge dict (default dict .default) (default dict .max) -}}
{{- $requests := merge dict (default dict .defaultRequest) $limits (default dict .min) -}}
{{- $defaults = mergeOverwrite $defaults (dict "requests" $requests "limits" $limits) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "ray-cluster.withoutNulls" $defaults -}}
{{- end -}}

{{/* A container's quantity as it is after Kubernetes has filled in what is missing: a request from the limit first. */}}
{{- define "ray-cluster.containerQuantity" -}}
{{- $own := include "ray-cluster.withoutNulls" (default dict .container.resources) | fromJson -}}
{{- $missing := dig .list .resource "" .defaults -}}
{{- if eq .list "requests" -}}
{{- $missing = dig "limits" .resource $missing $own -}}
{{- end -}}
{{- dig .list .resource $missing $own -}}
{{- end -}}

{{/*
A pod's quantity as a number. Containers run together; init containers run before them one by one, so that the largest
counts, unless one is restarted always: it goes on running beside all that follow it.
*/}}
{{- define "ray-cluster.podQuantity" -}}
{{- $together := 0 -}}
{{- $first := 0 -}}
{{- if eq .resource "pods" -}}
{{- $together = 1 -}}
{{- else -}}
{{- range .spec.initContainers -}}
{{- $number := include "ray-cluster.containerNumber" (merge (dict "container" .) $) | float64 -}}
{{- $first = maxf $first (addf $together $number) -}}
{{- if eq (toString .restartPolicy) "Always" -}}
{{- $together = addf $together $number -}}
{{- end -}}
{{- end -}}
{{- range .spec.containers -}}
{{- $together = addf $together (include "ray-cluster.containerNumber" (merge (dict "container" .) $) | float64) -}}
{{- end -}}
{{- end -}}
{{- maxf $together $first | printf "%.0f" -}}
{{- end -}}

{{- define "ray-cluster.containerNumber" -}}
{{- include "ray-cluster.quantityNumber" (dict "resource" .resource "quantity" (include "ray-cluster.containerQuantity" .)) -}}
{{- end -}}

{{/* Names of the containers that have to state the quantity, and do not. */}}
{{- define "ray-cluster.unstated" -}}
{{- $names := list -}}
{{- if .stated -}}
{{- range concat (default list .spec.initContainers) (default list .spec.containers) -}}
{{- if not (include "ray-cluster.containerQuantity" (merge (dict "container" .) $)) -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
