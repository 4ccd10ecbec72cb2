{{/*
What a tenant's quota counts of the release, and what its limit range refuses.

  include "ray-cluster.quotaUse" $ | fromJson

gives, for each entry of the quota that pods count against, `hard` and `used` as numbers (millicores, bytes, pieces), where
`used` is the release at its largest: every group at its upper limit, in the middle of an update. `parts` says what that is
made of, `drains` whether workers on their way out are among it, and `unstated` which containers Kubernetes would refuse,
because they do not state what the quota counts.

  include "ray-cluster.limitRangeFaults" $ | fromJsonArray

gives what Kubernetes would refuse of the release's pods and claims: `what` it is, what of it was `seen`, and the `bound` of a
`type` for a `resource` that it is outside of, with the quantity `allowed`.

Both read the pods as they are rendered, and count as Kubernetes counts. Two things are not known here: a runtime class's
overhead, and a priority class that the Kubernetes cluster gives to pods without one.
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
{{- $drains := false -}}
{{- $parts := list -}}
{{- $unstated := list -}}
{{- range $pod := $pods -}}
{{- $of := merge (dict "spec" $pod.spec "defaults" $defaults) $what -}}
{{- $each := include "ray-cluster.podQuantity" $of | float64 -}}
{{- $here := mulf $each (add $pod.count $pod.beside.number) -}}
{{- if $here -}}
{{- $count := $pod.beside.number | empty | ternary (printf "%v" $pod.count) (printf "(%v + %v %s)" $pod.count $pod.beside.number $pod.beside.why) -}}
{{- $drains = or $drains $pod.beside.drains -}}
{{- $parts = append $parts (printf "%s %s x %s" $pod.path $count (include "ray-cluster.quantityText" (dict "resource" $what.resource "number" $each))) -}}
{{- $used = addf $used $here -}}
{{- end -}}
{{- range include "ray-cluster.unstated" $of | fromJsonArray -}}
{{- $unstated = append $unstated (printf "container %s of %s" . $pod.path) -}}
{{- end -}}
{{- end -}}
{{- $number := include "ray-cluster.quantityNumber" (dict "resource" $what.resource "quantity" $hard) | float64 -}}
{{- $_ := set $use $name (merge (dict "hard" $number "used" $used "drains" $drains "parts" $parts "unstated" $unstated) $what) -}}
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

{{/* Those of the release's pods that the quota counts; a suspended cluster has none. */}}
{{- define "ray-cluster.quotaPods" -}}
{{- $pods := list -}}
{{- range $pod := include "ray-cluster.tenantPods" . | fromJsonArray -}}
{{- if include "ray-cluster.quotaCounts" (dict "spec" $pod.spec "quota" $.Values.tenant.resourceQuota) -}}
{{- $none := dict "count" 0 "beside" (dict "number" 0) -}}
{{- $pods = append $pods (mergeOverwrite $pod ($.Values.suspend | ternary $none dict)) -}}
{{- end -}}
{{- end -}}
{{- toJson $pods -}}
{{- end -}}

{{/* The release's pods: `path` of their values, `count`, how many there may be `beside` these, and `spec`. */}}
{{- define "ray-cluster.tenantPods" -}}
{{- $pods := list -}}
{{- $nodes := list (dict "ctx" $ "component" "head" "path" "head" "values" (include "ray-cluster.withoutNulls" .Values.head | fromJson) "count" 1 "beside" (dict "number" 0)) -}}
{{- range $name, $group := include "ray-cluster.workerGroups" $ | fromJson -}}
{{- $count := $group.autoscaling.enabled | ternary $group.autoscaling.maxReplicas (dig "replicas" 1 $group) | int -}}
{{- $beside := include "ray-cluster.podsBeside" (dict "ctx" $ "count" $count "group" $group) | fromJson -}}
{{- $nodes = append $nodes (dict "ctx" $ "component" "worker" "group" $name "path" (printf "workerGroups.%s" $name) "values" $group "count" $count "beside" $beside) -}}
{{- end -}}
{{- range $node := $nodes -}}
{{- $spec := dig "spec" dict (include "ray-cluster.podTemplate" $node | fromYaml) -}}
{{- $pods = append $pods (merge (pick $node "path" "count" "beside") (dict "spec" $spec)) -}}
{{- end -}}
{{- toJson $pods -}}
{{- end -}}

{{/*
Pods that there may be beside all that a group has: `number`, and `why`.

A pod that drains is no longer one of the group's, and its successor starts at once, but a quota counts it until it is gone. New
workers are ready in seconds, so that all old ones may drain at the end of an update. Recreate waits for them; what an
autoscaler has taken away and wants back is never more than it may take away.
*/}}
{{- define "ray-cluster.podsBeside" -}}
{{- $strategy := default dict .group.strategy -}}
{{- $recreate := eq (toString $strategy.type) "Recreate" -}}
{{- $surge := include "ray-cluster.surge" (dict "count" .count "strategy" $strategy) | int -}}
{{- $draining := 0 -}}
{{- if and .ctx.Values.tenant.resourceQuota.countDraining (dig "drain" "timeoutSeconds" 0 .group | int) -}}
{{- $draining = .count -}}
{{- if $recreate -}}
{{- $draining = .group.autoscaling.enabled | ternary (sub .count (int .group.autoscaling.minReplicas) | max 0) 0 -}}
{{- end -}}
{{- end -}}
{{- $drains := gt (int $draining) $surge -}}
{{- dict "number" (max $surge $draining) "drains" $drains "why" (ternary "that drain" "during an update" $drains) | toJson -}}
{{- end -}}

{{/* Pods that an update adds: never more than there are, and by default a quarter of them. */}}
{{- define "ray-cluster.surge" -}}
{{- $surge := dig "rollingUpdate" "maxSurge" "25%" .strategy | toString -}}
{{- if eq (toString .strategy.type) "Recreate" -}}
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

{{- define "ray-cluster.limitRangeFaults" -}}
{{- $faults := list -}}
{{- with .Values.tenant.limitRange -}}
{{- if .enabled -}}
{{- $defaults := include "ray-cluster.containerDefaults" . | fromJson -}}
{{- $subjects := include "ray-cluster.limitRangeSubjects" $ | fromJson -}}
{{- range $limit := .limits -}}
{{- range $bound := list "min" "max" "maxLimitRequestRatio" -}}
{{- range $resource, $allowed := include "ray-cluster.withoutNulls" (get $limit $bound | default dict) | fromJson -}}
{{- range $subject := get $subjects $limit.type -}}
{{- $about := dict "type" $limit.type "bound" $bound "resource" $resource "allowed" $allowed "what" $subject.what -}}
{{- with include "ray-cluster.outsideOf" (merge (dict "spec" $subject.spec "defaults" $defaults) $about) -}}
{{- $faults = append $faults (set $about "seen" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{/* What a limit range looks at, by its types. A container is written as a pod of nothing else, and a claim as its container. */}}
{{- define "ray-cluster.limitRangeSubjects" -}}
{{- $pods := list -}}
{{- $containers := list -}}
{{- range $pod := include "ray-cluster.tenantPods" . | fromJsonArray -}}
{{- $pods = append $pods (dict "what" (printf "a pod of %s" $pod.path) "spec" $pod.spec) -}}
{{- range concat (default list $pod.spec.initContainers) $pod.spec.containers -}}
{{- $containers = append $containers (dict "what" (printf "container %s of %s" .name $pod.path) "spec" (dict "containers" (list .))) -}}
{{- end -}}
{{- end -}}
{{- $claims := list -}}
{{- $rocksdb := dict "enabled" (eq .Values.gcsFaultTolerance.mode "rocksdb") | merge (deepCopy .Values.gcsFaultTolerance.rocksdb) -}}
{{- range $path, $claim := dict "head.persistence" .Values.head.persistence "gcsFaultTolerance.rocksdb" $rocksdb "monitoring.claim" .Values.monitoring.claim -}}
{{- if and $claim.enabled (not $claim.existingClaim) -}}
{{- $storage := dict "storage" $claim.size -}}
{{- $claims = append $claims (dict "what" (printf "the claim of %s" $path) "spec" (dict "containers" (list (dict "resources" (dict "requests" $storage))))) -}}
{{- end -}}
{{- end -}}
{{- dict "Pod" $pods "Container" $containers "PersistentVolumeClaim" $claims | toJson -}}
{{- end -}}

{{/*
What of a pod is outside of a bound, in words; nothing if it is inside. What is not stated at all keeps no bound. Of a claim,
Kubernetes looks at the request alone.
*/}}
{{- define "ray-cluster.outsideOf" -}}
{{- $requests := include "ray-cluster.statedQuantity" (merge (dict "list" "requests") .) -}}
{{- $limits := include "ray-cluster.statedQuantity" (merge (dict "list" "limits") .) -}}
{{- $allowed := include "ray-cluster.quantityNumber" (dict "resource" .resource "quantity" .allowed) | float64 -}}
{{- if and (empty $requests) (ne .bound "max") -}}
no requests.{{ .resource }}
{{- else if and (empty $limits) (ne .bound "min") (ne .type "PersistentVolumeClaim") -}}
no limits.{{ .resource }}
{{- else if eq .bound "maxLimitRequestRatio" -}}
{{- $ratio := include "ray-cluster.millicores" .allowed -}}
{{- if or (eq $limits "0") (gt (mulf $limits 1000) (mulf $requests $ratio)) -}}
limits.{{ .resource }} {{ include "ray-cluster.quantityText" (dict "resource" .resource "number" $limits) }} beside requests.{{ .resource }} {{ include "ray-cluster.quantityText" (dict "resource" .resource "number" $requests) }}
{{- end -}}
{{- else -}}
{{- $outside := false -}}
{{- range $list, $number := dict "limits" $limits "requests" $requests -}}
{{- $isOutside := eq $.bound "min" | ternary (lt (float64 $number) $allowed) (gt (float64 $number) $allowed) -}}
{{- if and $number $isOutside (not $outside) -}}
{{- $outside = true -}}
{{ $list }}.{{ $.resource }} {{ include "ray-cluster.quantityText" (dict "resource" $.resource "number" $number) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The quantity of a pod as podQuantity counts it, or nothing where no container states any. */}}
{{- define "ray-cluster.statedQuantity" -}}
{{- $stated := "" -}}
{{- range concat (default list .spec.initContainers) .spec.containers -}}
{{- $stated = include "ray-cluster.containerQuantity" (merge (dict "container" .) $) | default $stated -}}
{{- end -}}
{{- if $stated -}}
{{- include "ray-cluster.podQuantity" . -}}
{{- end -}}
{{- end -}}
