package sandbox

import "maps"

// RotateSecret gives a company's client another secret: the old one and every access token that it got are refused
// from now on.
func (sb *Sandbox) RotateSecret(companyID int64, secret string) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	co.client.secret = secret
	sb.mu.Unlock()
	sb.ExpireTokens(companyID)
	return nil
}

// RotateToken has a company's hooks send another webhook token, with repeats of what was
// refused too.
func (sb *Sandbox) RotateToken(companyID int64, token string) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	for _, h := range sb.hooks.all {
		if h.co == co {
			h.headers = maps.Clone(h.headers) // replaced whole: a delivery under way has the old
			h.headers["Authorization"] = "Bearer " + token
		}
	}
	return nil
}
