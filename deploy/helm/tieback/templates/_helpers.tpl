{{/* The names. */}}
{{- define "tieback.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tieback.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "tieback.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tieback.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* secret returns the name of a Secret: list $ "natsUsers" "nats-users". */}}
{{- define "tieback.secret" -}}
{{- $root := index . 0 }}
{{- default (printf "%s-%s" (include "tieback.fullname" $root) (index . 2)) (index $root.Values.secrets (index . 1)) }}
{{- end }}

{{/* The services by name: the component, the connections that their code makes, and whether they read the companies file. */}}
{{- define "tieback.services" -}}
ingest: {component: stage}
fetcher: {component: stage, procore: true, companies: true}
export: {component: worker, procore: true, erp: true, companies: true}
sync: {component: worker, procore: true, erp: true, companies: true}
import: {component: worker, procore: true, erp: true, companies: true}
unlink: {component: worker, procore: true, erp: true, companies: true}
reset: {component: worker, procore: true, erp: true, companies: true}
status-reporter: {component: stage, procore: true, companies: true}
sweep: {component: sweep, procore: true, companies: true}
lag-exporter: {component: exporter}
{{- if .Values.console.enabled }}
console: {component: console, procore: true, erp: true, companies: true}
{{- end }}
{{- end }}

{{/* The names of the services that an autoscaler scales. KEDA scales by a consumer's messages, and ingest has none. */}}
{{- define "tieback.scaled" -}}
{{- $names := list "fetcher" "export" "sync" "import" "unlink" "reset" }}
{{- if eq .Values.autoscaling.type "hpa" }}
{{- $names = prepend $names "ingest" }}
{{- else if eq .Values.autoscaling.type "none" }}
{{- $names = list }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{/* selector selects the pods of a service: list $ "ingest". */}}
{{- define "tieback.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "tieback.labels" -}}
{{- $root := index . 0 }}
{{- include "tieback.selector" . }}
app.kubernetes.io/part-of: {{ include "tieback.name" $root }}
{{- end }}

{{/* meta has the namespace and the labels of an object that is not a pod. */}}
{{- define "tieback.meta" -}}
{{- $root := index . 0 -}}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "tieback.labels" . | nindent 2 }}
{{- end }}

{{- define "tieback.image" -}}
{{- $root := index . 0 }}{{ $service := index . 1 }}
{{- $digest := index $root.Values.image.digests $service }}
{{- if $digest -}}
{{ $root.Values.image.registry }}/{{ $service }}@{{ $digest }}
{{- else -}}
{{ $root.Values.image.registry }}/{{ $service }}:{{ default $root.Chart.AppVersion $root.Values.image.tag }}
{{- end }}
{{- end }}

{{/* bytes returns the number of bytes of a quantity in Mi, Gi or Ti. */}}
{{- define "tieback.bytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- $unit := regexFind "[A-Z]i$" . }}
{{- if eq $unit "Mi" }}{{ mul $number 1048576 }}{{ else if eq $unit "Gi" }}{{ mul $number 1073741824 }}{{ else }}{{ mul $number 1099511627776 }}{{ end }}
{{- end }}

{{/* resources returns the resources of a service. */}}
{{- define "tieback.resources" -}}
{{- $root := index . 0 }}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.resources) (deepCopy (index $root.Values.services (index . 1)).resources)) }}
{{- end }}

{{/* podSpec is what the pods of the chart have in common: list $ uid. OpenShift assigns the user ids. */}}
{{- define "tieback.podSpec" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if not $root.Values.openshift }}
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "tieback.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* spread spreads the pods of a service, but schedules them together rather than not at all. */}}
{{- define "tieback.spread" -}}
{{- $arguments := . }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "tieback.selector" $arguments | nindent 6 }}
  {{- if index $arguments 2 }}
  matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* settings are the variables that all programs have. */}}
{{- define "tieback.settings" -}}
{{- $settings := dict
  "TIEBACK_NATS_URL" .Values.nats.url
  "TIEBACK_NATS_TOPOLOGY" "managed"
  "TIEBACK_NATS_REPLICAS" (toString .Values.nats.replicas)
  "TIEBACK_NATS_MAX_BYTES" (include "tieback.bytes" .Values.nats.maxStore)
}}
{{- if .Values.nats.create }}
{{- $_ := set $settings "TIEBACK_NATS_URL" (printf "%s://%s-nats:4222" (ternary "tls" "nats" .Values.nats.tls.enabled) (include "tieback.fullname" .)) }}
{{- end }}
{{- if .Values.nats.tls.enabled }}
{{- $_ := set $settings "TIEBACK_NATS_CA_FILE" "/etc/tieback-ca/ca.crt" }}
{{- end }}
{{- if .Values.sandbox.enabled }}
{{- $sandbox := printf "http://%s-sandbox:8081" (include "tieback.fullname" .) }}
{{- $_ := set $settings "TIEBACK_PROCORE_API_URL" $sandbox }}
{{- $_ := set $settings "TIEBACK_PROCORE_LOGIN_URL" $sandbox }}
{{- end }}
{{- toYaml (mergeOverwrite $settings (deepCopy .Values.settings)) }}
{{- end }}

{{/* account is a service's ServiceAccount, without rights and without a token. */}}
{{- define "tieback.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "tieback.fullname" (index . 0) }}-{{ index . 1 }}
  {{- include "tieback.meta" . | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{/* The port of the broker, from nats.url. */}}
{{- define "tieback.natsPort" -}}
{{- if .Values.nats.create }}4222{{ else }}{{ regexFind "[0-9]+$" .Values.nats.url | default "4222" }}{{ end }}
{{- end }}

{{/* ingressPeers are the peers from which HTTP requests come. */}}
{{- define "tieback.ingressPeers" -}}
{{- if .Values.networkPolicies.ingress }}
{{- toYaml .Values.networkPolicies.ingress }}
{{- else if eq .Values.ingress.type "nginx" }}
- namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}
{{- else if eq .Values.ingress.type "openshift" }}
- namespaceSelector: {matchLabels: {policy-group.network.openshift.io/ingress: ""}}
- namespaceSelector: {matchLabels: {policy-group.network.openshift.io/host-network: ""}}
{{- end }}
{{- end }}

{{/* probed reports whether the load balancer itself checks the pods, at the admin port. Its targets leave it later than the
endpoints of a controller in the cluster. */}}
{{- define "tieback.probed" -}}
{{- if or (has .Values.ingress.type (list "alb" "agic")) (and (eq .Values.ingress.type "gateway") .Values.ingress.gateway.gkeHealthCheck) }}true{{ end }}
{{- end }}

{{/* check fails with a message if values contradict each other. The schema checks each value alone. */}}
{{- define "tieback.check" -}}
{{- $v := .Values }}
{{- if and (ne $v.ingress.type "none") (not $v.ingress.host) }}
{{- fail (printf "ingress.type is %s: set ingress.host to the host to which Procore delivers" $v.ingress.type) }}
{{- end }}
{{- if and $v.console.ingress.enabled (or (eq $v.ingress.type "none") (not $v.console.ingress.host)) }}
{{- fail "console.ingress.enabled: set ingress.type, and console.ingress.host to the console's host" }}
{{- end }}
{{- if and $v.console.ingress.enabled (not $v.console.enabled) }}
{{- fail "console.ingress.enabled: the console is not installed; set console.enabled, or remove its ingress" }}
{{- end }}
{{- if and $v.networkPolicies.enabled (has $v.ingress.type (list "alb" "agic" "gateway")) (not $v.networkPolicies.ingress) }}
{{- fail (printf "ingress.type is %s: set networkPolicies.ingress to where its requests come from, for example [{ipBlock: {cidr: 10.0.0.0/16}}] for the subnets of the load balancer" $v.ingress.type) }}
{{- end }}
{{- if and (eq $v.ingress.type "gateway") (not $v.ingress.gateway.name) }}
{{- fail "ingress.type is gateway: set ingress.gateway.name to the Gateway that has the certificate of ingress.host" }}
{{- end }}
{{- if and $v.secrets.externalSecrets.enabled (not $v.secrets.externalSecrets.store) }}
{{- fail "secrets.externalSecrets.enabled: set secrets.externalSecrets.store to the name of the SecretStore or ClusterSecretStore" }}
{{- end }}
{{- if and $v.keys.manage (or $v.secrets.externalSecrets.enabled $v.secrets.keys $v.secrets.natsUsers) }}
{{- fail "keys.manage creates the Secrets of the keys: disable secrets.externalSecrets, and leave secrets.keys and secrets.natsUsers empty" }}
{{- end }}
{{- if and $v.keys.rotation (not $v.keys.manage) }}
{{- fail "keys.rotation: set keys.manage, or rotate the keys with `provisioner keys --rotate`" }}
{{- end }}
{{- if and $v.secrets.externalSecrets.enabled $v.sandbox.enabled }}
{{- fail "sandbox.enabled has secrets of its own: disable secrets.externalSecrets" }}
{{- end }}
{{- if and $v.nats.create (eq (int $v.nats.replicas) 2) }}
{{- fail "nats.replicas is 2: two nodes cannot form a majority when one is away; set 1, 3 or 5" }}
{{- end }}
{{- if and (not $v.nats.create) (ne (hasPrefix "tls://" $v.nats.url) $v.nats.tls.enabled) }}
{{- fail "nats.url begins with tls:// if nats.tls.enabled is set, and with nats:// otherwise" }}
{{- end }}
{{- if ge (int64 (include "tieback.bytes" $v.nats.maxStore)) (int64 (include "tieback.bytes" $v.nats.storage.size)) }}
{{- if $v.nats.create }}
{{- fail "nats.maxStore must be below nats.storage.size: the broker does not survive a full disk" }}
{{- end }}
{{- end }}
{{- if and $v.backup.enabled (not (and $v.backup.location $v.backup.recipients)) }}
{{- fail "backup.enabled: set backup.location, and backup.recipients to the public keys that `tieback backup key FILE` prints" }}
{{- end }}
{{- if and $v.backup.enabled (not (hasPrefix "s3://" $v.backup.location)) (not (and $v.backup.volume (regexMatch "^/backup(/|$)" $v.backup.location))) }}
{{- fail "backup.location is no s3://…: set backup.volume, which is mounted at /backup, and a location below /backup" }}
{{- end }}
{{- if and (ne $v.autoscaling.type "none") (le (int $v.autoscaling.max) (int $v.autoscaling.min)) }}
{{- fail "autoscaling.max must be above autoscaling.min" }}
{{- end }}
{{- end }}
