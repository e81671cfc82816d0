package kubernetes

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// values has the keys of the chart nats-2.14.6 of nats-io/k8s that nats/values.yaml and nats/tls.yaml use. The chart ignores
// unknown keys. It copies merge and patch to the resource or the configuration.
type values struct {
	FullnameOverride string `json:"fullnameOverride"`
	Container        struct {
		Image struct {
			Tag string `json:"tag"`
		} `json:"image"`
		Env   map[string]string           `json:"env"`
		Merge corev1.Container            `json:"merge"`
		Patch []patch[corev1.VolumeMount] `json:"patch"`
	} `json:"container"`
	Config struct {
		Cluster struct {
			Enabled  bool `json:"enabled"`
			Replicas int  `json:"replicas"`
			TLS      tls  `json:"tls"`
		} `json:"cluster"`
		NATS struct {
			TLS tls `json:"tls"`
		} `json:"nats"`
		JetStream struct {
			Enabled   bool `json:"enabled"`
			FileStore struct {
				Enabled bool `json:"enabled"`
				PVC     struct {
					Enabled          bool              `json:"enabled"`
					Size             resource.Quantity `json:"size"`
					StorageClassName *string           `json:"storageClassName"`
				} `json:"pvc"`
				MaxSize resource.Quantity `json:"maxSize"`
			} `json:"fileStore"`
			MemoryStore struct {
				Enabled bool              `json:"enabled"`
				MaxSize resource.Quantity `json:"maxSize"`
			} `json:"memoryStore"`
			Merge map[string]any `json:"merge"`
		} `json:"jetstream"`
		Merge map[string]any `json:"merge"`
	} `json:"config"`
	Reloader struct {
		Merge corev1.Container `json:"merge"`
	} `json:"reloader"`
	PodTemplate struct {
		TopologySpreadConstraints map[string]corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
		Merge                     corev1.PodTemplateSpec                     `json:"merge"`
		Patch                     []patch[corev1.Volume]                     `json:"patch"`
	} `json:"podTemplate"`
	PodDisruptionBudget struct {
		Enabled bool `json:"enabled"`
	} `json:"podDisruptionBudget"`
	PromExporter struct {
		Enabled bool `json:"enabled"`
	} `json:"promExporter"`
	NATSBox struct {
		Enabled bool `json:"enabled"`
	} `json:"natsBox"`
	TLSCA struct {
		Enabled    bool   `json:"enabled"`
		SecretName string `json:"secretName"`
	} `json:"tlsCA"`
}

type tls struct {
	Enabled    bool           `json:"enabled"`
	SecretName string         `json:"secretName"`
	Merge      map[string]any `json:"merge"`
}

type patch[T any] struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value T      `json:"value"`
}

func chart(t *testing.T, file string) values {
	t.Helper()
	raw, err := os.ReadFile(manifests + "/nats/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = yaml.YAMLToJSONStrict(raw); err != nil {
		t.Fatal(err)
	}
	var v values
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
