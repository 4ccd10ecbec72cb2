{{/*
Checks across values, called by validate.yaml:

  include "ray-cluster.validate" $

gives one line per contradiction: the value, what is wrong with it, what to write instead. A check prints lines and never
fails, and the rest of the chart renders with wrong values too, so that all contradictions arrive in one message.
*/}}
{{- define "ray-cluster.validate" -}}
{{- $groups := include "ray-cluster.workerGroups" . | fromJson -}}
{{ include "ray-cluster.validate.text" (dict "path" "" "value" .Values) }}
{{ include "ray-cluster.validate.names" . }}
{{ include "ray-cluster.validate.labels" (dict "path" "" "values" (pick .Values "commonLabels")) }}
{{- range $path := list
      "dashboard.httpRoute" "dashboard.ingress" "gcsFaultTolerance.redis.cleanup" "gcsFaultTolerance.rocksdb" "head.demandSidecar"
      "head.externalService" "head.persistence" "head.service" "helmTest" "monitoring.claim" "monitoring.dashboards"
      "monitoring.podMonitor" "monitoring.rules" "monitoring.serviceMonitor" "networkPolicy" "serve.httpRoute" "serve.ingress"
      "serve.service" "serviceAccount" "tenant.limitRange" "tenant.resourceQuota" }}
{{- $values := $.Values }}
{{- range splitList "." $path }}
{{- $values = get $values . | default dict }}
{{- end }}
{{- $at := dict "path" $path "values" $values }}
{{ include "ray-cluster.validate.labels" $at }}
{{ include "ray-cluster.validate.requests" $at }}
{{- end }}
{{ include "ray-cluster.validate.serviceAccount" (dict "account" .Values.serviceAccount "nodes" (append (values $groups) .Values.head)) }}
{{ include "ray-cluster.validate.logRotation" .Values.logRotation }}
{{ include "ray-cluster.validate.reference" (dict "path" "image" "image" .Values.image) }}
{{ include "ray-cluster.validate.reference" (dict "path" "global" "image" (pick .Values.global "imageRegistry")) }}
{{ include "ray-cluster.validate.onePython" (dict "ctx" $ "nodes" (append (values $groups) .Values.head)) }}
{{ include "ray-cluster.validate.version" . }}
{{ include "ray-cluster.validate.auth" . }}
{{ include "ray-cluster.validate.tls" .Values.tls }}
{{- if .Values.gcsFaultTolerance.redis.username }}
{{ include "ray-cluster.validate.needs" (dict "ctx" $ "value" "gcsFaultTolerance.redis.username" "feature" "redisUsername") }}
{{- end }}
{{ include "ray-cluster.validate.ports" .Values.ports }}
{{ include "ray-cluster.validate.faultTolerance" . }}
{{ include "ray-cluster.validate.cpus" (dict "head" .Values.head "groups" $groups) }}
{{ include "ray-cluster.validate.serve" (dict "ctx" $ "groups" $groups) }}
{{ include "ray-cluster.validate.routes" .Values }}
{{ include "ray-cluster.validate.node" (dict "ctx" $ "path" "head" "values" .Values.head) }}
{{ include "ray-cluster.validate.oneHead" .Values.head }}
{{ include "ray-cluster.validate.groupNames" $groups }}
{{ include "ray-cluster.validate.tenant" . }}
{{ include "ray-cluster.validate.network" . }}
{{ include "ray-cluster.validate.monitoring" .Values.monitoring }}
{{ include "ray-cluster.validate.oneAutoscaler" (dict "ctx" $ "groups" $groups) }}
{{ include "ray-cluster.validate.demand" . }}
{{- range $name, $group := $groups }}
{{- $node := dict "ctx" $ "component" "worker" "path" (printf "workerGroups.%s" $name) "values" $group }}
{{ include "ray-cluster.validate.node" $node }}
{{ include "ray-cluster.validate.labels" (dict "path" (printf "%s.autoscaling" $node.path) "values" $group.autoscaling) }}
{{ include "ray-cluster.validate.autoscaling" $node }}
{{ include "ray-cluster.validate.strategy" $node }}
{{ include "ray-cluster.validate.drain" $node }}
{{- end }}
{{- end -}}

{{/* Helm's toYaml gives nothing at all for a map with a character in it that YAML cannot hold, and does not say so. */}}
{{- define "ray-cluster.validate.text" -}}
{{- if regexMatch `[\x{7f}-\x{84}\x{86}-\x{9f}\x{fffe}\x{ffff}]` (toJson .value) }}
{{- if or (kindIs "map" .value) (kindIs "slice" .value) }}
{{- range $key, $value := .value }}
{{ include "ray-cluster.validate.text" (dict "path" (printf "%s.%v" $.path $key | trimPrefix ".") "value" $value) }}
{{- end }}
{{- else }}
{{ .path }} contains a control character, which YAML cannot hold: remove it.
{{- end }}
{{- end }}
{{- end -}}

{{/* Kubernetes wants more of a Service's name than Helm does of a release's. */}}
{{- define "ray-cluster.validate.names" -}}
{{- $name := include "ray-cluster.headName" . -}}
{{- if not (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` $name) }}
{{ .Values.fullnameOverride | empty | ternary "the release's name" "fullnameOverride" }} makes a Service called {{ $name }}, but a Service's name starts with a letter and has letters, digits and hyphens only: {{ .Values.fullnameOverride | empty | ternary "set fullnameOverride" "choose another" }}.
{{- end }}
{{- end -}}

{{/* Of values at a path, or at the top: every map that becomes labels of an object. */}}
{{- define "ray-cluster.validate.labels" -}}
{{- $reserved := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "ray-cluster/serve" "ray-cluster/worker-group" -}}
{{- range $key := list "labels" "commonLabels" "deploymentLabels" "podLabels" }}
{{- range $label, $_ := default dict (get $.values $key) }}
{{- if has $label $reserved }}
{{ printf "%s.%s" $.path $key | trimPrefix "." }} sets {{ $label }}, a label that the chart sets itself: remove it.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.version" -}}
{{- $version := include "ray-cluster.ray.version" . -}}
{{- $minimum := include "ray-cluster.ray.minimumVersion" . -}}
{{- if not $version }}
rayVersion is empty, and {{ include "ray-cluster.image" (dict "ctx" . "values" dict) }} does not tell which Ray it contains: set rayVersion, for example "{{ .Chart.AppVersion }}".
{{- else if not (semverCompare (printf ">=%s" $minimum) $version) }}
Ray {{ $version }} is too old, this chart needs {{ $minimum }} or newer: choose another image.tag, or correct rayVersion.
{{- end }}
{{- $told := include "ray-cluster.ray.versionOf" .Values.image }}
{{- if and $told (ne $told $version) }}
rayVersion is {{ $version }}, but image.tag is {{ .Values.image.tag }}: remove rayVersion, or choose another tag.
{{- end }}
{{- end -}}

{{/* Each part of an image's reference has a value of its own. */}}
{{- define "ray-cluster.validate.reference" -}}
{{- range $key := list "registry" "imageRegistry" }}
{{- $registry := default "" (get $.image $key) }}
{{- if contains "://" $registry }}
{{ $.path }}.{{ $key }} is {{ $registry }}, but an image's name has no scheme: write {{ regexReplaceAll "^.*://" $registry "" }}.
{{- end }}
{{- end }}
{{- with regexFind `:[^/]*$` (default "" .image.repository) }}
{{ $.path }}.repository is {{ $.image.repository }}, with a tag in it: write {{ trimSuffix . $.image.repository }}, and {{ trimPrefix ":" . }} as {{ $.path }}.tag.
{{- end }}
{{- end -}}

{{/* Ray's own tags tell the Python in them. */}}
{{- define "ray-cluster.validate.onePython" -}}
{{- $pythons := list -}}
{{- range .nodes -}}
{{- with (include "ray-cluster.imageOf" (dict "ctx" $.ctx "values" .) | fromJson).tag | default "" | regexFind `-py3\d+` -}}
{{- $pythons = append $pythons (trimPrefix "-" .) | uniq | sortAlpha -}}
{{- end -}}
{{- end -}}
{{- if gt (len $pythons) 1 }}
the images of head and worker groups have different Pythons by their tags, {{ join " and " $pythons }}: all nodes need the same, choose another image.tag.
{{- end }}
{{- end -}}

{{/* That this Ray has the `feature` that a value needs. */}}
{{- define "ray-cluster.validate.needs" -}}
{{- if not (include "ray-cluster.ray.has" .) }}
{{ .value }} needs Ray {{ get (include "ray-cluster.ray.features" . | fromYaml) .feature }} or newer, but the cluster's is {{ include "ray-cluster.ray.version" .ctx }}: remove it, or choose another image.tag.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.auth" -}}
{{- with .Values.auth.token }}
{{- if or .enabled (and .existingSecret (kindIs "invalid" .enabled)) }}
{{ include "ray-cluster.validate.needs" (dict "ctx" $ "value" (printf "auth.token.%s" (ternary "enabled" "existingSecret" (eq true .enabled))) "feature" "token") }}
{{- else if and .existingSecret (not (kindIs "invalid" .enabled)) }}
auth.token.existingSecret is set, but auth.token.enabled is false: enable it, or remove the Secret.
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.tls" -}}
{{- if and .enabled (not .existingSecret) }}
tls.enabled is true without tls.existingSecret: name the Secret with the authority that signs the pods' certificates.
{{- end }}
{{- range $key := list "existingSecret" "headNames" }}
{{- if and (get $ $key) (not $.enabled) }}
tls.{{ $key }} is set, but tls.enabled is false: enable it, or remove tls.{{ $key }}.
{{- end }}
{{- end }}
{{- end -}}

{{/* Ray refuses to start when two of its ports are the same, or lie in the range that it gives to worker processes. */}}
{{- define "ray-cluster.validate.ports" -}}
{{- $min := int .workerMin -}}
{{- $max := int .workerMax -}}
{{- if le $max $min }}
ports.workerMax is {{ $max }}, but must be greater than ports.workerMin, which is {{ $min }}.
{{- end }}
{{- $seen := dict -}}
{{- range $name, $port := omit . "workerMin" "workerMax" }}
{{- $port = int $port }}
{{- with get $seen (toString $port) }}
ports.{{ $name }} and ports.{{ . }} are both {{ $port }}: give each a port of its own.
{{- end }}
{{- if and (ge $port $min) (le $port $max) }}
ports.{{ $name }} is {{ $port }}, inside the range from ports.workerMin to ports.workerMax ({{ $min }} to {{ $max }}): move one of them.
{{- end }}
{{- $_ := set $seen (toString $port) $name }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.faultTolerance" -}}
{{- $mode := .Values.gcsFaultTolerance.mode -}}
{{- $redis := .Values.gcsFaultTolerance.redis -}}
{{- if eq $mode "rocksdb" }}
{{ include "ray-cluster.validate.needs" (dict "ctx" . "value" "gcsFaultTolerance.mode: rocksdb" "feature" "rocksdb") }}
{{- end }}
{{- if and (ne $mode "rocksdb") .Values.gcsFaultTolerance.rocksdb.existingClaim }}
gcsFaultTolerance.rocksdb.existingClaim is set, but gcsFaultTolerance.mode is {{ $mode }}: write mode rocksdb, or remove it.
{{- end }}
{{- if eq $mode "redis" }}
{{- if not $redis.address }}
gcsFaultTolerance.redis.address is empty, but gcsFaultTolerance.mode is redis: write the address of your Redis, host:port or rediss://host:port.
{{- end }}
{{- if and $redis.username (not (include "ray-cluster.redisSecretName" .)) }}
gcsFaultTolerance.redis.username is set without gcsFaultTolerance.redis.existingSecret: name the Secret that holds the user's password.
{{- end }}
{{- if and $redis.password $redis.existingSecret }}
gcsFaultTolerance.redis.password and gcsFaultTolerance.redis.existingSecret are both set: remove one, better the password.
{{- end }}
{{ include "ray-cluster.validate.certificates" $redis }}
{{- else }}
{{- range $key := list "address" "username" "existingSecret" "password" "storageNamespace" }}
{{- if get $redis $key }}
gcsFaultTolerance.redis.{{ $key }} is set, but gcsFaultTolerance.mode is {{ $mode }}: write mode redis, or remove it.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.certificates" -}}
{{- $encrypted := hasPrefix "rediss://" .address -}}
{{- range $key := list "existingSecret" "serverName" }}
{{- if and (get $.tls $key) $.address (not $encrypted) }}
gcsFaultTolerance.redis.tls.{{ $key }} is set, but gcsFaultTolerance.redis.address does not begin with rediss://: write rediss://{{ trimPrefix "redis://" $.address }}, or remove it.
{{- end }}
{{- end }}
{{- if ne (empty .tls.certKey) (empty .tls.keyKey) }}
gcsFaultTolerance.redis.tls.{{ empty .tls.certKey | ternary "keyKey is set without certKey" "certKey is set without keyKey" }}: a client has a certificate and its key, set both or none.
{{- else if and .tls.certKey (not .tls.existingSecret) }}
gcsFaultTolerance.redis.tls.certKey is set without gcsFaultTolerance.redis.tls.existingSecret: name the Secret that holds the certificate.
{{- end }}
{{- end -}}

{{/* A cluster without a single CPU accepts jobs and never runs a task. */}}
{{- define "ray-cluster.validate.cpus" -}}
{{- $someoneHasCpus := false -}}
{{- range append (values .groups) .head -}}
{{- $cpus := toString .numCpus -}}
{{- if eq $cpus "auto" -}}
{{- $cpus = include "ray-cluster.millicores" (include "ray-cluster.validate.request" (dict "resource" "cpu" "resources" .resources)) -}}
{{- end -}}
{{- $someoneHasCpus = or $someoneHasCpus (ne $cpus "0") -}}
{{- end -}}
{{- if not $someoneHasCpus }}
head.numCpus comes to 0, and {{ empty .groups | ternary "there is no worker group" "so it does in every worker group" }}: no task could ever run. Add a worker group, or give numCpus a number.
{{- end }}
{{- end -}}

{{/* Ray and its dashboard would show the workers of a group called head under the head's name. */}}
{{- define "ray-cluster.validate.groupNames" -}}
{{- range $name := keys . | sortAlpha }}
{{- if not (regexMatch `^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$` $name) }}
workerGroups has a group called {{ quote $name }}, but its name becomes a part of others: write lower-case letters, digits and hyphens, a letter first, 30 at most.
{{- else if eq "head" $name }}
workerGroups.head has the name that Ray knows the head by: choose another.
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.oneHead" -}}
{{- if not (or (kindIs "invalid" .replicas) (eq 1 (int .replicas))) }}
head.replicas is {{ .replicas }}, but a Ray cluster has one head: remove it. For more workers raise worker.autoscaling.maxReplicas, for more clusters install more releases, for none write suspend: true.
{{- end }}
{{- end -}}

{{/* Two autoscalers on one Deployment undo each other's work, and Kubernetes does not mind. */}}
{{- define "ray-cluster.validate.oneAutoscaler" -}}
{{- $owners := dict -}}
{{- range $name, $group := .groups -}}
{{- if $group.autoscaling.enabled -}}
{{- $_ := set $owners (include "ray-cluster.workerName" (dict "ctx" $.ctx "group" $name)) (printf "workerGroups.%s.autoscaling" $name) -}}
{{- end -}}
{{- end -}}
{{- range .ctx.Values.extraObjects }}
{{- range include "ray-cluster.extraObject" (dict "ctx" $.ctx "object" .) | splitList "\n---" }}
{{- $object := fromYaml . }}
{{- $target := $object }}
{{- range $key := list "spec" "scaleTargetRef" "name" }}
{{- $target = get (kindIs "map" $target | ternary $target dict) $key }}
{{- end }}
{{- if and (has $object.kind (list "HorizontalPodAutoscaler" "ScaledObject")) (hasKey $owners (toString $target)) }}
{{- $owner := get $owners $target }}
extraObjects has a {{ $object.kind }} for the Deployment {{ $target }}, which {{ $owner }} scales already: remove it, or write {{ $owner }}.enabled: false.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What head and worker groups have in common. */}}
{{- define "ray-cluster.validate.node" -}}
{{ include "ray-cluster.validate.labels" . }}
{{ include "ray-cluster.validate.requests" . }}
{{ include "ray-cluster.validate.memory" . }}
{{ include "ray-cluster.validate.image" . }}
{{ include "ray-cluster.validate.gpus" . }}
{{ include "ray-cluster.validate.spilling" . }}
{{ include "ray-cluster.validate.deployment" . }}
{{ include "ray-cluster.validate.budget" . }}
{{ include "ray-cluster.validate.pause" . }}
{{ include "ray-cluster.validate.reserved" . }}
{{ include "ray-cluster.validate.entries" . }}
{{ include "ray-cluster.validate.handlers" . }}
{{ include "ray-cluster.validate.securityContext" . }}
{{- if and (eq (toString .values.numCpus) "auto") (not (include "ray-cluster.validate.request" (dict "resource" "cpu" "resources" .values.resources))) }}
{{ .path }}.numCpus is auto, but there is no {{ .path }}.resources.requests.cpu to take it from: set the request, or write numCpus as a whole number.
{{- else if and (not (kindIs "string" .values.numCpus)) (ne (floor .values.numCpus) (float64 .values.numCpus)) }}
{{ .path }}.numCpus is {{ .values.numCpus }}, but Ray counts whole CPUs: write {{ ceil .values.numCpus }}. Tasks may ask for a fraction of one, and resources.requests.cpu may be one.
{{- end }}
{{- end -}}

{{/* The container's request: its own, or the limit, which Kubernetes takes for the request then. Empty if there is neither. */}}
{{- define "ray-cluster.validate.request" -}}
{{- $resources := default dict .resources -}}
{{- $requests := default dict $resources.requests -}}
{{- $request := get (hasKey $requests .resource | ternary $requests (default dict $resources.limits)) .resource -}}
{{- if not (kindIs "invalid" $request) -}}
{{- $request -}}
{{- end -}}
{{- end -}}

{{/* Kubernetes takes the Deployment and then refuses each of its pods, where nobody looks. */}}
{{- define "ray-cluster.validate.requests" -}}
{{- $limits := dig "limits" dict (default dict .values.resources) -}}
{{- range $resource, $request := dig "requests" dict (default dict .values.resources) }}
{{- $limit := include "ray-cluster.quantityNumber" (dict "resource" $resource "quantity" (get (default dict $limits) $resource)) }}
{{- $number := include "ray-cluster.quantityNumber" (dict "resource" $resource "quantity" $request) }}
{{- $isExtended := and (contains "/" $resource) (not (contains "kubernetes.io/" $resource)) }}
{{- if and $isExtended $number (ne (float64 $number) (float64 $limit)) }}
{{ $.path }}.resources.requests.{{ $resource }} is {{ $request }}, but nobody shares such a resource, and its request is its limit: write it in {{ $.path }}.resources.limits alone.
{{- else if and $limit (gt (float64 $number) (float64 $limit)) }}
{{ $.path }}.resources.requests.{{ $resource }} is {{ $request }}, more than {{ $.path }}.resources.limits.{{ $resource }}, which is {{ get $limits $resource }}: lower it, or raise the limit.
{{- end }}
{{- end }}
{{- end -}}

{{/* An object store that takes nearly all memory leaves none for Ray's processes (240 to 290 MB) and the tasks. */}}
{{- define "ray-cluster.validate.memory" -}}
{{- $limitText := dig "limits" "memory" "" (default dict .values.resources) -}}
{{- $limit := include "ray-cluster.memoryLimitBytes" .values -}}
{{- $store := include "ray-cluster.objectStoreBytes" .values -}}
{{- if not $limitText }}
{{ .path }}.resources.limits.memory is missing: Ray needs to know how much memory it has, set it.
{{- else if not $limit }}
{{ .path }}.resources.limits.memory is {{ $limitText }}, which is not a quantity: write for example 2Gi.
{{- else if not $store }}
{{ .path }}.objectStoreMemory is {{ .values.objectStoreMemory }}, neither a quantity nor a percentage: write for example 512Mi or 25%.
{{- else if ge (float64 $store) (mulf (float64 $limit) 0.8 | floor) }}
{{ .path }}.objectStoreMemory is {{ .values.objectStoreMemory }}, but must be less than 80 % of {{ .path }}.resources.limits.memory, which is {{ $limitText }}: lower it, or raise the limit.
{{- else if lt (int64 $store) 78643200 }}
{{ .path }}.objectStoreMemory comes to {{ $store }} bytes, but Ray refuses less than 75Mi: raise it, or {{ .path }}.resources.limits.memory.
{{- end }}
{{- end -}}

{{/* Names that the chart uses itself. Kubernetes would take the last of two equal ones silently, or refuse the pod. */}}
{{- define "ray-cluster.validate.reserved" -}}
{{- $flags := include "ray-cluster.ray.managedFlags" . | fromYaml -}}
{{- range $flag, $_ := .values.rayStartParams }}
{{- if hasKey $flags $flag }}
{{ $.path }}.rayStartParams.{{ $flag }} is set by the chart: {{ include "ray-cluster.validate.instead" (dict "path" $.path "value" (get $flags $flag)) }}.
{{- end }}
{{- end }}
{{- if and (ne .path "head") (hasKey (default dict .values.rayStartParams) "include-dashboard") }}
{{ .path }}.rayStartParams.include-dashboard is a flag of the head, with which no worker starts: remove it, or set it in head.rayStartParams.
{{- end }}
{{- range $resource, $instead := dict "CPU" "numCpus" "GPU" "numGpus" "memory" "resources.limits.memory" "object_store_memory" "objectStoreMemory" }}
{{- if hasKey (default dict $.values.rayResources) $resource }}
{{ $.path }}.rayResources.{{ $resource }} is a resource of Ray's own: use {{ $.path }}.{{ $instead }} instead.
{{- end }}
{{- end }}
{{- $env := include "ray-cluster.ray.managedEnv" . | fromYaml -}}
{{- range .values.env }}
{{- if hasKey $env (toString .name) }}
{{ $.path }}.env sets {{ .name }}, which the chart sets itself: {{ include "ray-cluster.validate.instead" (dict "path" $.path "value" (get $env .name)) }}.
{{- end }}
{{- end }}
{{- $containers := list "demand" "ray-head" "ray-worker" "remove-old-sessions" "sign-certificate" -}}
{{- $names := dict
      "volumes" (list "demand" "demand-account" "gcs-storage" "object-spilling" "prometheus-targets" "ray-tmp" "redis-certificates" "shm" "tls" "tls-authority" "writable-tmp")
      "sidecars" $containers
      "initContainers" $containers
      "extraPorts" (list "agent" "as-metrics" "client" "dash-metrics" "dashboard" "demand" "gcs-server" "metrics" "serve") -}}
{{- range $key, $own := $names }}
{{- range default list (get $.values $key) }}
{{- if has .name $own }}
{{ $.path }}.{{ $key }} has an entry called {{ .name }}, a name that the chart uses itself: choose another.
{{- end }}
{{- end }}
{{- end }}
{{- $mounts := dict
      "/dev/shm" (printf "%s.objectStoreMemory" .path)
      "/tmp/ray" "head.persistence"
      (include "ray-cluster.certificatesDirectory" .) "gcsFaultTolerance.redis.tls"
      (include "ray-cluster.storageDirectory" .) "gcsFaultTolerance.rocksdb"
      (include "ray-cluster.tls.directory" .) "tls"
      (include "ray-cluster.monitoring.targetsDirectory" .) "monitoring.claim"
      (include "ray-cluster.ray.spillingDirectory" .) (printf "%s.objectSpilling" .path) -}}
{{- range $mount := .values.volumeMounts }}
{{- if has .name (list "demand-account" "tls-authority") }}
{{ $.path }}.volumeMounts mounts {{ .name }}, which the chart keeps from containers that run jobs: remove it.
{{- end }}
{{- with get $mounts (trimSuffix "/" $mount.mountPath) }}
{{ $.path }}.volumeMounts mounts at {{ $mount.mountPath }}, where the chart mounts already: use {{ . }}.
{{- end }}
{{- end }}
{{- end -}}

{{/* Kubernetes would take the last of two entries of one name, or refuse the pod. */}}
{{- define "ray-cluster.validate.entries" -}}
{{- $lists := dict
      "sidecars and initContainers" (concat (default list .values.sidecars) (default list .values.initContainers))
      "env" .values.env
      "extraPorts" .values.extraPorts
      "volumes" .values.volumes -}}
{{- range $list, $entries := $lists }}
{{ include "ray-cluster.validate.unique" (dict "path" (printf "%s.%s" $.path $list) "key" "name" "entries" $entries) }}
{{- end }}
{{ include "ray-cluster.validate.unique" (dict "path" (printf "%s.volumeMounts" .path) "key" "mountPath" "entries" .values.volumeMounts) }}
{{- end -}}

{{- define "ray-cluster.validate.unique" -}}
{{- $seen := list -}}
{{- $twice := list -}}
{{- range .entries -}}
{{- $value := get . $.key -}}
{{- if and $value (has $value $seen) -}}
{{- $twice = append $twice $value | uniq -}}
{{- end -}}
{{- $seen = append $seen $value -}}
{{- end -}}
{{- range $twice }}
{{ $.path }} have two entries with the {{ $.key }} {{ . }}: give one of them another {{ $.key }}, or remove it.
{{- end }}
{{- end -}}

{{/* What a group adds to `worker` may be another kind than what is there. */}}
{{- define "ray-cluster.validate.handlers" -}}
{{- $hooks := pick (default dict .values.lifecycle) "postStart" "preStop" -}}
{{- range $name, $handler := merge $hooks (pick .values "livenessProbe" "readinessProbe" "startupProbe") }}
{{- $own := include "ray-cluster.withoutNulls" (default dict $handler) | fromJson }}
{{- $kinds := pick $own "exec" "grpc" "httpGet" "sleep" "tcpSocket" | keys | sortAlpha }}
{{- if gt (len $kinds) 1 }}
{{ $.path }}.{{ hasSuffix "Probe" $name | ternary "" "lifecycle." }}{{ $name }} comes to {{ join " and " $kinds }} together, but does one thing: set the other to null.
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.securityContext" -}}
{{- $pods := include "ray-cluster.withoutNulls" (default dict .values.podSecurityContext) | fromJson -}}
{{- $both := include "ray-cluster.withoutNulls" (default dict .values.securityContext) | fromJson | mergeOverwrite $pods -}}
{{- if and $both.runAsNonRoot (eq "0" (toString $both.runAsUser)) }}
{{ .path }} has runAsUser 0, but runAsNonRoot is true, and no container would start: choose another user, or write runAsNonRoot: false.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.instead" -}}
{{- if .value -}}
use {{ replace "NODE" .path .value }} instead
{{- else -}}
remove it
{{- end -}}
{{- end -}}

{{- define "ray-cluster.validate.autoscaling" -}}
{{- $autoscaling := .values.autoscaling -}}
{{- if $autoscaling.enabled }}
{{- if lt (int $autoscaling.maxReplicas) (int $autoscaling.minReplicas) }}
{{ .path }}.autoscaling.maxReplicas is {{ $autoscaling.maxReplicas }}, less than minReplicas, which is {{ $autoscaling.minReplicas }}: raise one, or lower the other.
{{- end }}
{{- range $direction, $rules := default dict $autoscaling.behavior }}
{{- if and (hasKey $rules "tolerance") (semverCompare "<1.35.0-0" $.ctx.Capabilities.KubeVersion.Version) }}
{{ $.path }}.autoscaling.behavior.{{ $direction }}.tolerance needs Kubernetes 1.35, but this is {{ $.ctx.Capabilities.KubeVersion.Version }}, which would drop it: remove it.
{{- end }}
{{- end }}
{{- if and $autoscaling.demand.podDeletionCost (not $autoscaling.demand.enabled) }}
{{ .path }}.autoscaling.demand.podDeletionCost is true, but {{ .path }}.autoscaling.demand.enabled is false: write both true, or podDeletionCost: false.
{{- end }}
{{ include "ray-cluster.validate.keda" . }}
{{- if not ($autoscaling.keda.enabled | ternary (include "ray-cluster.kedaTriggers" .) (include "ray-cluster.autoscalingMetrics" .values)) }}
{{ .path }}.autoscaling is enabled without anything to follow: set a target utilisation, metrics or keda.triggers, or write enabled: false.
{{- else if not $autoscaling.metrics }}
{{- $targets := dict "cpu" "targetCPUUtilizationPercentage" "memory" "targetMemoryUtilizationPercentage" }}
{{- range $resource, $target := $targets }}
{{- $request := include "ray-cluster.validate.request" (dict "resource" $resource "resources" $.values.resources) }}
{{- if and (get $autoscaling $target) (not (include "ray-cluster.quantityNumber" (dict "resource" $resource "quantity" $request) | float64)) }}
{{ $.path }}.autoscaling.{{ $target }} is a percentage of {{ $.path }}.resources.requests.{{ $resource }}, which is {{ default "missing" $request }}: set the request, or write {{ $target }}: 0.
{{- end }}
{{- end }}
{{- end }}
{{- else }}
{{- range $key := list "demand" "keda" }}
{{- if (get $autoscaling $key).enabled }}
{{ $.path }}.autoscaling.{{ $key }}.enabled is true, but {{ $.path }}.autoscaling.enabled is false: write both true, or both false.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
CPU and memory of a group without pods tell nothing, and are always active for KEDA: what it does without pods, or without
metrics, is up to the other triggers. Its admission webhook says the same, where it is installed.
*/}}
{{- define "ray-cluster.validate.keda" -}}
{{- $autoscaling := .values.autoscaling -}}
{{- $keda := $autoscaling.keda -}}
{{- $min := int $autoscaling.minReplicas -}}
{{- if $keda.enabled }}
{{- if $autoscaling.metrics }}
{{ .path }}.autoscaling.metrics are for a HorizontalPodAutoscaler, but {{ .path }}.autoscaling.keda.enabled is true: write them as keda.triggers, or remove them.
{{- end }}
{{- $own := $autoscaling.demand.enabled | ternary (list "demand") list -}}
{{- range $keda.triggers -}}
{{- if not (has .type (list "cpu" "memory")) -}}
{{- $own = append $own .type -}}
{{- end -}}
{{- end -}}
{{- $needing := list -}}
{{- if not $min -}}
{{- $needing = append $needing "minReplicas is 0" -}}
{{- end -}}
{{- range $key := list "idleReplicaCount" "fallback" -}}
{{- if hasKey $keda $key -}}
{{- $needing = append $needing (printf "keda.%s is set" $key) -}}
{{- end -}}
{{- end -}}
{{- if not $own -}}
{{- range $needing }}
{{ $.path }}.autoscaling.{{ . }}, which takes a trigger beside CPU and memory: add one to keda.triggers, or {{ hasPrefix "min" . | ternary "raise it" "remove it" }}.
{{- end }}
{{- end }}
{{- if and (hasKey $keda "idleReplicaCount") (ge (int $keda.idleReplicaCount) $min) }}
{{ .path }}.autoscaling.keda.idleReplicaCount is {{ int $keda.idleReplicaCount }}, but must be less than minReplicas, which is {{ $min }}: raise the one, or remove the other.
{{- end }}
{{- else if not (or $min $autoscaling.demand.enabled) }}
{{ .path }}.autoscaling.minReplicas is 0, which takes demand or KEDA: set demand.enabled, or keda.enabled and a trigger in keda.triggers, or write at least 1.
{{- end }}
{{- end -}}

{{/* Jobs run users' code in the head's pod: whatever else could get at the token there could scale the release. */}}
{{- define "ray-cluster.validate.demand" -}}
{{- $faults := list -}}
{{- range $value, $on := dict "serviceAccount.automount" .Values.serviceAccount.automount "head.shareProcessNamespace" .Values.head.shareProcessNamespace -}}
{{- if $on -}}
{{- $faults = append $faults (printf "with %s jobs on the head can read the token that may scale: switch one of them off" $value) -}}
{{- end -}}
{{- end -}}
{{- if eq "default" (include "ray-cluster.demandAccountName" .) -}}
{{- $faults = append $faults "the head's account is default, and with it every pod of the namespace without an account of its own could scale: name another in head.serviceAccountName or serviceAccount.name" -}}
{{- end -}}
{{- $mounted := list -}}
{{- range .Values.head.volumeMounts -}}
{{- $mounted = append $mounted .name -}}
{{- end -}}
{{- range $volume := .Values.head.volumes -}}
{{- range (default dict .projected).sources -}}
{{- $token := get (default dict .) "serviceAccountToken" -}}
{{- if and $token (not $token.audience) (has $volume.name $mounted) -}}
{{- $faults = append $faults (printf "head.volumeMounts gives jobs on the head the token in %s, which may scale: remove it, or give the token an audience" $volume.name) | uniq -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
{{- if and .enabled .egress.restricted (not .egress.to) -}}
{{- $faults = append $faults "with networkPolicy.egress.restricted its sidecar cannot reach the Kubernetes API: let it out in networkPolicy.egress.to, for example [{to: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [{port: 6443}]}], the API's own address and not its Service's" -}}
{{- end -}}
{{- end -}}
{{- range $name := include "ray-cluster.demandGroups" . | fromJson | keys | sortAlpha }}
{{- range $faults }}
workerGroups.{{ $name }}.autoscaling.demand.enabled is true, but {{ . }}.
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.strategy" -}}
{{- $strategy := default dict .values.strategy -}}
{{- $update := default dict $strategy.rollingUpdate -}}
{{- $none := list "0" "0%" -}}
{{- if and (ne (default "" $strategy.type) "Recreate") (has (toString $update.maxSurge) $none) (has (toString $update.maxUnavailable) $none) }}
{{ .path }}.strategy.rollingUpdate has maxSurge and maxUnavailable at 0, so that no worker could ever be replaced: raise one of them.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.drain" -}}
{{- $grace := .values.terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $grace)) (le (int $grace) (int .values.drain.timeoutSeconds)) }}
{{ .path }}.terminationGracePeriodSeconds is {{ $grace }}, but must be greater than {{ .path }}.drain.timeoutSeconds, which is {{ .values.drain.timeoutSeconds }}: Kubernetes would kill a worker that still drains. Remove it, and the chart derives it.
{{- end }}
{{- end -}}

{{/* Nodes of different versions do not find together. */}}
{{- define "ray-cluster.validate.image" -}}
{{- $version := include "ray-cluster.ray.version" .ctx -}}
{{- $own := default dict .values.image -}}
{{- $told := include "ray-cluster.ray.versionOf" (include "ray-cluster.imageOf" . | fromJson) -}}
{{ include "ray-cluster.validate.reference" (dict "path" (printf "%s.image" .path) "image" $own) }}
{{- if and $version (or $own.tag $own.digest) }}
{{- if and $told (ne $told $version) }}
{{ .path }}.image.tag is {{ default .ctx.Values.image.tag $own.tag }}, but the cluster's Ray is {{ $version }}: all nodes need the same version, choose another tag.
{{- else if not (or $told .ctx.Values.rayVersion) }}
{{ .path }}.image is {{ include "ray-cluster.image" . }}, which does not tell which Ray it contains: set rayVersion, for example "{{ $version }}".
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.spilling" -}}
{{- if .values.objectSpilling.enabled }}
{{ include "ray-cluster.validate.needs" (dict "ctx" .ctx "value" (printf "%s.objectSpilling.enabled" .path) "feature" "spillingDirectory") }}
{{- end }}
{{- $sources := keys (default dict .values.objectSpilling.volume) | sortAlpha -}}
{{- if gt (len $sources) 1 }}
{{ .path }}.objectSpilling.volume comes to {{ join " and " $sources }} together, but a volume has one source: set the other to null.
{{- end }}
{{- end -}}

{{/* A GPU that Ray offers and the container does not have makes tasks fail that ask for one. */}}
{{- define "ray-cluster.validate.gpus" -}}
{{- $resources := default dict .values.resources -}}
{{- $limit := include "ray-cluster.ray.gpus" (dict "numGpus" "auto" "resources" $resources) | int -}}
{{- $others := not $limit | and (or .values.runtimeClassName (dig "limits" dict $resources | default dict | keys | join " " | lower | contains "gpu")) -}}
{{- if and (gt (int .values.numGpus) $limit) (not (or $others $resources.claims)) }}
{{ .path }}.numGpus is {{ int .values.numGpus }}, but {{ .path }}.resources.limits {{ gt $limit 0 | ternary (printf "has %d" $limit) "has no GPU" }}: set a limit such as nvidia.com/gpu, and leave numGpus at auto.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.deployment" -}}
{{- $ready := .values.minReadySeconds -}}
{{- if and $ready (le (default 600 .values.progressDeadlineSeconds | int) (int $ready)) }}
{{ .path }}.minReadySeconds is {{ int $ready }}, but must be less than {{ .path }}.progressDeadlineSeconds, which is {{ default 600 .values.progressDeadlineSeconds | int }}: lower it, or raise the deadline.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.budget" -}}
{{ include "ray-cluster.validate.labels" (dict "path" (printf "%s.podDisruptionBudget" .path) "values" .values.podDisruptionBudget) }}
{{- with .values.podDisruptionBudget }}
{{- if and .enabled (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable) }}
{{ $.path }}.podDisruptionBudget is enabled without minAvailable and maxUnavailable: set one of them, or write enabled: false.
{{- end }}
{{- end }}
{{- end -}}

{{/* The pause comes out of the grace period before anything else happens. */}}
{{- define "ray-cluster.validate.pause" -}}
{{- $grace := .values.terminationGracePeriodSeconds -}}
{{- $drain := dig "drain" "timeoutSeconds" 0 .values | int -}}
{{- $pause := include "ray-cluster.servePause" . | int -}}
{{- $drains := and (eq .path "head" | not) (le (int $grace) $drain) -}}
{{- if and $pause (not (kindIs "invalid" $grace)) (not $drains) (le (int $grace) (add $drain $pause | int)) }}
{{ .path }}.terminationGracePeriodSeconds is {{ int $grace }}, but {{ .path }} receives requests for Ray Serve, and first goes on for serve.preStopSleepSeconds, which is {{ $pause }}: raise the one to more than {{ add $drain $pause }}, or lower the other.
{{- end }}
{{- end -}}

{{- define "ray-cluster.validate.serviceAccount" -}}
{{- $everyNodeHasOne := true -}}
{{- range .nodes -}}
{{- $everyNodeHasOne = and $everyNodeHasOne .serviceAccountName -}}
{{- end -}}
{{- with .account }}
{{- if and .automount (not .create) (not .name) (not $everyNodeHasOne) }}
serviceAccount.automount is true, but there is no account of its own to take a token from: set serviceAccount.create or serviceAccount.name, or serviceAccountName of every node.
{{- end }}
{{- if and .annotations (not .create) }}
serviceAccount.annotations are set, but the chart makes no account: set serviceAccount.create, or annotate the account yourself.
{{- end }}
{{- end }}
{{- end -}}

{{/* A suffix that is missing (100) or wrong (100m) is a quantity as well, and would rotate a log with every line. */}}
{{- define "ray-cluster.validate.logRotation" -}}
{{- $size := include "ray-cluster.bytes" .maxSize -}}
{{- if lt (float64 (default 0 $size)) 1048576.0 }}
logRotation.maxSize comes to {{ default 0 $size }} bytes, less than a log needs: write at least 1Mi.
{{- end }}
{{- end -}}

{{/* Requests need a way in, and nodes to arrive at. */}}
{{- define "ray-cluster.validate.serve" -}}
{{- $serve := .ctx.Values.serve -}}
{{- if $serve.enabled }}
{{- $receives := .ctx.Values.head.serveProxy }}
{{- range .groups }}
{{- $receives = or $receives .serveProxy }}
{{- end }}
{{- if not $receives }}
serve.enabled is true, but neither the head nor a worker group has serveProxy: requests would arrive nowhere. Set it where they shall.
{{- end }}
{{- else }}
{{- range $name, $group := .groups }}
{{- if $group.serveProxy }}
workerGroups.{{ $name }}.serveProxy is true, but serve.enabled is false: enable it, or remove serveProxy.
{{- end }}
{{- end }}
{{- range $kind := list "ingress" "httpRoute" }}
{{- if get (get $serve $kind) "enabled" }}
serve.{{ $kind }} is enabled, but serve.enabled is false: there is nothing it could lead to. Enable both, or neither.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes all values. An Ingress without a host answers for every host of its controller, other tenants' as well. */}}
{{- define "ray-cluster.validate.routes" -}}
{{- $seen := dict -}}
{{- range $target := list "dashboard" "serve" }}
{{- $values := get $ $target }}
{{- if $values.ingress.enabled }}
{{- if not $values.ingress.hosts }}
{{ $target }}.ingress is enabled without hosts: write the name that it answers to, for example hosts: [{host: ray.example.com}].
{{- end }}
{{- range $host := $values.ingress.hosts }}
{{- range default (list (dict "path" "/")) $host.paths }}
{{- $url := printf "%s%s" $host.host .path }}
{{- $key := printf "%s%v" $url (eq "Exact" (default "" .pathType)) }}
{{- with get $seen $key }}
{{ eq . $target | ternary (printf "%s.ingress answers twice" .) (printf "%s.ingress and %s.ingress both answer" $target .) }} to {{ $url }}: write another host or path.
{{- end }}
{{- $_ := set $seen $key $target }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
{{ $target }}.httpRoute is enabled without parentRefs: name the gateway that it belongs to, for example parentRefs: [{name: web}].
{{- end }}
{{- end }}
{{- end -}}

{{/* A policy cannot name a Redis by its address in the values: behind a name or a Service there are others. */}}
{{- define "ray-cluster.validate.network" -}}
{{- with .Values.networkPolicy }}
{{- $closed := and .enabled .egress.restricted }}
{{- range $key := list "redis" "to" }}
{{- if and (get $.Values.networkPolicy.egress $key) (not $closed) }}
networkPolicy.egress.{{ $key }} is set, but nothing is closed that it could open: set networkPolicy.enabled and networkPolicy.egress.restricted, or remove it.
{{- end }}
{{- end }}
{{- if and $closed (not .egress.dns) (not .egress.to) }}
networkPolicy.egress.restricted is true, and networkPolicy.egress.dns and to are empty, so that no worker could find the head by its name: say in one of them who answers DNS.
{{- end }}
{{- if and $closed (eq $.Values.gcsFaultTolerance.mode "redis") (not .egress.redis) }}
networkPolicy.egress.restricted is true, and gcsFaultTolerance.mode is redis: say in networkPolicy.egress.redis where the Redis is, for example [{ipBlock: {cidr: 10.0.0.7/32}}] or [{podSelector: {matchLabels: {app: redis}}}].
{{- end }}
{{- end }}
{{- end -}}

{{/* A pod that a quota does not admit is never created, and nothing but an event of its ReplicaSet says so. */}}
{{- define "ray-cluster.validate.tenant" -}}
{{- range $key, $list := dict "resourceQuota" "hard" "limitRange" "limits" }}
{{- $values := get $.Values.tenant $key }}
{{- if and $values.enabled (not (get $values $list)) }}
tenant.{{ $key }} is enabled, but tenant.{{ $key }}.{{ $list }} is empty: write what the tenant may have, or enabled: false.
{{- end }}
{{- end }}
{{- range $name, $entry := include "ray-cluster.quotaUse" . | fromJson }}
{{- range $entry.unstated }}
{{ . }} states no {{ $entry.list }}.{{ $entry.resource }}, but tenant.resourceQuota.hard.{{ $name }} makes Kubernetes refuse a pod without it: set it in the container's resources, or give tenant.limitRange a default.
{{- end }}
{{- if gt $entry.used $entry.hard }}
{{- $text := dict "resource" $entry.resource "number" $entry.used }}
tenant.resourceQuota.hard.{{ $name }} is {{ get $.Values.tenant.resourceQuota.hard $name }}, but the release comes to {{ include "ray-cluster.quantityText" $text }} at its largest ({{ join ", " $entry.parts }}): raise the quota, or lower the number of workers{{ ne $entry.resource "pods" | ternary (printf ", what each has of %s," $entry.resource) "" }} or maxSurge{{ if $entry.drains }}; or let new workers wait for those that drain, with tenant.resourceQuota.countDraining: false{{ end }}.
{{- end }}
{{- end }}
{{- range include "ray-cluster.limitRangeFaults" . | fromJsonArray }}
{{ .what }} has {{ .seen }}, but tenant.limitRange.limits has a {{ .bound }} of {{ .allowed }} for the {{ .resource }} of a {{ .type }}, and Kubernetes would refuse it: change one of them.
{{- end }}
{{- end -}}

{{/* Two monitors scrape everything twice, and every sum over it is double. */}}
{{- define "ray-cluster.validate.monitoring" -}}
{{- if and .podMonitor.enabled .serviceMonitor.enabled }}
monitoring.podMonitor and monitoring.serviceMonitor are both enabled, so that a Prometheus would count everything twice: disable one.
{{- end }}
{{- if and .claim.existingClaim .claim.name }}
monitoring.claim.existingClaim and monitoring.claim.name are both set: name a claim that exists, or the one that the chart makes.
{{- end }}
{{- if and .prometheus.existingSecret .prometheus.headers }}
monitoring.prometheus.headers and monitoring.prometheus.existingSecret are both set: write all headers in the Secret, or none.
{{- end }}
{{- end -}}
