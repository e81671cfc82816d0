package tenant

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
)

// issued returns a certificate in PEM that expires at a time.
func issued(t *testing.T, expires time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// The certificates in a connector's settings are found by their content. Of two authorities the later counts, of a chain the earlier.
func TestConnectorCertificates(t *testing.T) {
	early, late := time.Unix(2000000000, 0), time.Unix(3000000000, 0)
	two := issued(t, late) + issued(t, early)
	a := &App{
		Companies: company.Set{7: company.New(7, company.Secrets{Settings: map[string]string{"address": "erp:7070", "ca": two, "cert": two, "key": "-----BEGIN EC PRIVATE KEY-----"}})},
		Drivers:   connector.Drivers{}, ERPs: connector.NewShared(nil),
	}
	if all := a.connectorCertificates(); len(all) != 0 {
		t.Errorf("a process without drivers: %+v", all)
	}
	a.Drivers["remote"] = nil
	found := map[string]time.Time{}
	for _, c := range a.connectorCertificates() {
		found[fmt.Sprint(c.Use, " ", c.Company)] = c.Expires
	}
	if len(found) != 2 || !found["connector_ca 7"].Equal(late) || !found["connector_cert 7"].Equal(early) {
		t.Errorf("%v", found)
	}
}

// A connector that can't be opened is a trouble with a reason.
func TestTroublesAreExported(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	client, err := procore.New(procore.Config{APIURL: "http://procore.invalid", LoginURL: "http://procore.invalid"}, company.Set{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a := &App{Procore: client, ERPs: connector.NewShared(connector.Drivers{"broken": func(context.Context, int64, map[string]string) (connector.Driver, error) {
		return nil, errors.New("connector.address: is missing")
	}})}
	reg.MustRegister(troublesCollector{a})
	if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
		t.Errorf("%d series without a trouble, %v", n, err)
	}
	if _, err := a.ERPs.Open(t.Context(), "broken", func() map[string]string { return nil }, connector.Config{Company: 7}); err == nil {
		t.Fatal("opened")
	}
	all, err := reg.Gather()
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	m := all[0].GetMetric()[0]
	text := ""
	for _, l := range m.GetLabel() {
		text += l.GetName() + "=" + l.GetValue() + " "
	}
	if since := time.Unix(int64(m.GetGauge().GetValue()), 0); time.Since(since) > time.Minute || text != "company=7 reason=unopened source=tieback " {
		t.Errorf("%s since %v", text, since)
	}
}
