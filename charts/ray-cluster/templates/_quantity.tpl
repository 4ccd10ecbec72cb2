{{/*
Quantities as numbers: Ray takes bytes where Kubernetes takes quantities, and a quota is arithmetic.

  include "ray-cluster.bytes" "1.5Gi"                                    1610612736
  include "ray-cluster.millicores" "0.1"                                 100
  include "ray-cluster.quantityNumber" (dict "resource" "cpu" "quantity" "0.1")    millicores, or units of all else
  include "ray-cluster.quantityText" (dict "resource" "cpu" "number" 1500)         1500m
  include "ray-cluster.memoryLimitBytes" $values                        bytes of resources.limits.memory
  include "ray-cluster.objectStoreBytes" $values                        bytes of objectStoreMemory

$values is .Values.head or a merged worker group. Text that cannot be read gives "" and never an error: _validate.tpl turns
it into a message together with all others, which it could not if rendering had stopped here.
*/}}

{{- define "ray-cluster.bytes" -}}
{{- include "ray-cluster.quantityParts" (dict "quantity" . "perUnit" 1) -}}
{{- end -}}

{{- define "ray-cluster.millicores" -}}
{{- include "ray-cluster.quantityParts" (dict "quantity" . "perUnit" 1000) -}}
{{- end -}}

{{/*
A Kubernetes quantity in parts of a unit, rounded up like Kubernetes does: decimals, exponents (1e9), thousandths (m),
decimal (k .. E) and binary (Ki .. Ei) suffixes. An exponent has digits behind its e or E, the suffix E (exa) has none.
*/}}
{{- define "ray-cluster.quantityParts" -}}
{{- $text := toString .quantity -}}
{{- $number := regexFind `^([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?` $text -}}
{{- $suffix := trimPrefix $number $text -}}
{{- $units := dict
      "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- if and $number (hasKey $units $suffix) -}}
{{- mulf (float64 $number) (get $units $suffix) .perUnit | ceil | printf "%.0f" -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.quantityNumber" -}}
{{- include (eq .resource "cpu" | ternary "ray-cluster.millicores" "ray-cluster.bytes") .quantity -}}
{{- end -}}

{{/* The largest binary suffix that loses nothing. A few GPUs or pods never reach one. */}}
{{- define "ray-cluster.quantityText" -}}
{{- $number := int64 .number -}}
{{- $thousandths := eq .resource "cpu" -}}
{{- if and $thousandths (mod $number 1000) -}}
{{- $number }}m
{{- else if $thousandths -}}
{{- div $number 1000 -}}
{{- else if and $number (not (mod $number 1073741824)) -}}
{{- div $number 1073741824 }}Gi
{{- else if and $number (not (mod $number 1048576)) -}}
{{- div $number 1048576 }}Mi
{{- else -}}
{{- $number -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.memoryLimitBytes" -}}
{{- include "ray-cluster.bytes" (dig "limits" "memory" "" (default dict .resources)) -}}
{{- end -}}

{{/* A percentage is taken of the memory limit, because that is the memory Ray has. */}}
{{- define "ray-cluster.objectStoreBytes" -}}
{{- $size := toString .objectStoreMemory -}}
{{- $limit := include "ray-cluster.memoryLimitBytes" . -}}
{{- if not (hasSuffix "%" $size) -}}
{{- include "ray-cluster.bytes" $size -}}
{{- else if and $limit (regexMatch `^[0-9]+(\.[0-9]+)?%$` $size) -}}
{{- mulf (float64 $limit) (float64 (trimSuffix "%" $size)) 0.01 | floor | printf "%.0f" -}}
{{- end -}}
{{- end -}}

{{/* What is left for tasks and actors: the limit without the object store, which lives inside the same limit. */}}
{{- define "ray-cluster.taskMemoryBytes" -}}
{{- sub (include "ray-cluster.memoryLimitBytes" . | int64) (include "ray-cluster.objectStoreBytes" . | int64) -}}
{{- end -}}

{{/*
Size of /dev/shm in MiB, rounded up: the object store and a tenth more. Ray compares the *free* space of /dev/shm with the
object store when it starts. With less it moves the store to disk (below 10 GB) or refuses to start (above), and a few
small files of other users of /dev/shm would be enough for that without the tenth.
*/}}
{{- define "ray-cluster.sharedMemorySize" -}}
{{- printf "%.0fMi" (divf (mulf (include "ray-cluster.objectStoreBytes" . | float64) 1.1) 1048576 | ceil) -}}
{{- end -}}
