package tenant

import (
	"strings"

	"github.com/tieback/tieback/pkg/telemetry"
)

// connectorCertificates returns the certificates in the settings of the companies' connectors, and those that connectors offered:
//
//	connector        the connector's
//	connector_cert   the setting cert (or cert_file), a client certificate; any other setting with certificates in the same way
//	connector_ca     the setting ca (or ca_file), certificate authorities
//
// A process that opens no ERP has none.
func (a *App) connectorCertificates() (all []telemetry.Certificate) {
	if len(a.Drivers) == 0 {
		return nil
	}
	for id, c := range a.Companies {
		for name, value := range c.Settings() {
			if !strings.Contains(value, "-----BEGIN CERTIFICATE") {
				continue
			}
			found := telemetry.ParseCertificates([]byte(value))
			expires := telemetry.ChainExpires(found)
			if name == "ca" {
				expires = telemetry.AuthoritiesExpire(found)
			}
			all = append(all, telemetry.Certificate{Use: "connector_" + name, Company: id, Expires: expires})
		}
	}
	for id, chain := range a.ERPs.Certificates() {
		all = append(all, telemetry.Certificate{Use: "connector", Company: id, Expires: telemetry.ChainExpires(chain)})
	}
	return all
}
