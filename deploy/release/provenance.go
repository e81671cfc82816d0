package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	repository   = "https://github.com/tieback/tieback"
	sums         = "SHA256SUMS"
	predicate    = "https://slsa.dev/provenance/v1"
	envelopeType = "application/vnd.in-toto+json"
)

// attest writes the provenance of all files, and their checksums.
func (r *release) attest(ctx context.Context) error {
	names, err := r.files()
	if err != nil {
		return err
	}
	var subjects []*intoto.ResourceDescriptor
	for _, name := range names {
		sum, err := sumOf(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		subjects = append(subjects, &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	statement, err := r.statement(subjects)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, "provenance.json"), statement, 0o644); err != nil {
		return err
	}
	if r.key == "" {
		r.log("the provenance is not signed: set KEY to a file with an Ed25519 private key")
	} else if err := r.sign(ctx, statement); err != nil {
		return fmt.Errorf("sign with %s: %w", r.key, err)
	}
	return r.sum()
}

// files lists the files with a checksum, sorted: all, except those of an image layout other than its index, which names them by
// their digests.
func (r *release) files() ([]string, error) {
	var out []string
	err := filepath.WalkDir(r.out, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(r.out, path)
		name = filepath.ToSlash(name)
		if err == nil && d.Type().IsRegular() && name != sums && (!strings.HasPrefix(name, "images/") || strings.HasSuffix(name, "/index.json")) {
			out = append(out, name)
		}
		return err
	})
	return out, err
}

func (r *release) sum() error {
	names, err := r.files()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range names {
		sum, err := sumOf(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, name)
	}
	return os.WriteFile(filepath.Join(r.out, sums), []byte(text.String()), 0o644)
}

// statement returns the in-toto statement. It has no times, so that it is the same for each build.
func (r *release) statement(subjects []*intoto.ResourceDescriptor) ([]byte, error) {
	params, err := structpb.NewStruct(map[string]any{"version": r.version, "targets": strings.Join(r.targets, " "), "only": strings.Join(r.only, " ")})
	if err != nil {
		return nil, err
	}
	own, err := structpb.NewStruct(map[string]any{"go": runtime.Version(), "CGO_ENABLED": "0"})
	if err != nil {
		return nil, err
	}
	p := &provenancev1.Provenance{
		BuildDefinition: &provenancev1.BuildDefinition{
			BuildType:          repository + "/blob/main/deploy/release/main.go",
			ExternalParameters: params,
			InternalParameters: own,
			ResolvedDependencies: []*intoto.ResourceDescriptor{
				{Uri: "git+" + repository, Digest: map[string]string{"gitCommit": strings.TrimSuffix(r.commit, "+changes")}},
			},
		},
		RunDetails: &provenancev1.RunDetails{Builder: &provenancev1.Builder{Id: repository + "/make-release", Version: map[string]string{"go": runtime.Version()}}},
	}
	if strings.HasSuffix(r.commit, "+changes") {
		p.BuildDefinition.ExternalParameters.Fields["changes"] = structpb.NewBoolValue(true)
	}
	raw, err := protojson.Marshal(p)
	if err != nil {
		return nil, err
	}
	body := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, body); err != nil {
		return nil, err
	}
	s := &intoto.Statement{Type: intoto.StatementTypeUri, Subject: subjects, PredicateType: predicate, Predicate: body}
	if err := errors.Join(p.Validate(), s.Validate()); err != nil {
		return nil, err
	}
	if raw, err = protojson.Marshal(s); err != nil {
		return nil, err
	}
	var out bytes.Buffer // protojson's spaces vary by program
	err = json.Indent(&out, raw, "", "  ")
	return append(out.Bytes(), '\n'), err
}

// sign writes the statement in a DSSE envelope.
func (r *release) sign(ctx context.Context, statement []byte) error {
	raw, err := os.ReadFile(r.key)
	if err != nil {
		return err
	}
	key, err := signerverifier.LoadKey(raw)
	if err != nil {
		return err
	}
	signer, err := signerverifier.NewED25519SignerVerifierFromSSLibKey(key)
	if err != nil {
		return fmt.Errorf("give an Ed25519 key in PEM (openssl genpkey -algorithm ed25519): %w", err)
	}
	es, err := dsse.NewEnvelopeSigner(signer)
	if err != nil {
		return err
	}
	envelope, err := es.SignPayload(ctx, envelopeType, statement)
	if err != nil {
		return err
	}
	out, err := json.MarshalIndent(envelope, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "provenance.dsse.json"), append(out, '\n'), 0o644)
}
