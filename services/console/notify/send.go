package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/url"
	"strings"
	"time"
)

// message is what a receiver gets.
type message struct {
	Kind    string `json:"kind"` // attention, digest
	At      string `json:"at"`   // RFC 3339
	Title   string `json:"title"`
	Company string `json:"company_id,omitempty"` // of a digest
	Items   []item `json:"items"`
	More    int    `json:"more,omitempty"` // items that were left out
	Advice  string `json:"advice,omitempty"`
	Link    string `json:"link,omitempty"`
}

// item is one thing that needs attention, or one failed export.
type item struct {
	Kind    string `json:"kind,omitempty"`
	Company string `json:"company_id,omitempty"`
	Request string `json:"request_id,omitempty"`
	Text    string `json:"text"`
	Action  string `json:"action,omitempty"`
	Link    string `json:"link,omitempty"` // to the console's page
}

// text returns the message for people.
func (m message) text() string {
	var b strings.Builder
	b.WriteString(m.Title + "\n\n")
	for _, i := range m.Items {
		b.WriteString("- " + oneLine(i.Text) + "\n")
		if i.Action != "" {
			b.WriteString("  → " + oneLine(i.Action) + "\n")
		}
		if i.Link != "" {
			b.WriteString("  " + i.Link + "\n")
		}
	}
	if m.More > 0 {
		fmt.Fprintf(&b, "- and %d more\n", m.More)
	}
	if m.Advice != "" {
		b.WriteString("\n" + m.Advice + "\n")
	}
	if m.Link != "" {
		b.WriteString("\n" + m.Link + "\n")
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sendTimeout bounds one message to one receiver.
const sendTimeout = 15 * time.Second

// send sends a message. Its error has no secret.
func (r *Receiver) send(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch {
	case r.Webhook != nil:
		return post(ctx, r.Webhook.url, m)
	case r.Slack != nil:
		escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(m.text())
		return post(ctx, r.Slack.url, map[string]string{"text": escaped})
	}
	return r.Mail.send(ctx, m)
}

// client follows no redirect: the URL is a secret of its host.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func post(ctx context.Context, to string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(raw))
	if err != nil {
		return errors.New("the URL is invalid")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its text has the URL
			err = u.Err
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode >= 300 {
		return fmt.Errorf("the receiver answered %s", resp.Status)
	}
	return nil
}

// send sends a mail over STARTTLS. Without STARTTLS it sends only to a loopback address.
func (m *Mail) send(ctx context.Context, msg message) error {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: m.roots}); err != nil {
			return err
		}
	} else if !loopback(host) {
		return errors.New("the mail server offers no STARTTLS")
	}
	if m.Username != "" {
		if err := c.Auth(smtp.PlainAuth("", m.Username, m.password, host)); err != nil {
			return fmt.Errorf("the mail server refuses the login: %w", err)
		}
	}
	return m.deliver(c, msg)
}

func (m *Mail) deliver(c *smtp.Client, msg message) error {
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return err
	}
	if err := c.Mail(from.Address); err != nil {
		return err
	}
	for _, to := range m.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return err
		}
		if err := c.Rcpt(a.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: quoted-printable\r\nAuto-Submitted: auto-generated\r\n\r\n",
		from, strings.Join(m.To, ", "), mime.QEncoding.Encode("utf-8", oneLine("Tieback: "+msg.Title)), time.Now().Format(time.RFC1123Z))
	q := quotedprintable.NewWriter(w)
	_, err = io.WriteString(q, strings.ReplaceAll(msg.text(), "\n", "\r\n"))
	if err := errors.Join(err, q.Close(), w.Close()); err != nil {
		return err
	}
	return c.Quit()
}
