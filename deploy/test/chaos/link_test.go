package main

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// echo starts a server that answers every line, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func linked(t *testing.T) *link {
	t.Helper()
	n := newNetwork(&ports{next: firstPort})
	t.Cleanup(n.close)
	l, err := n.link("a", "b", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asks reports whether a new connection over the link gets an answer.
func asks(t *testing.T, l *link, patience time.Duration) bool {
	t.Helper()
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}

// A cut link passes nothing, and works again when all cuts have ended.
func TestALinkIsCutAndHealed(t *testing.T) {
	l := linked(t)
	if !asks(t, l, time.Minute) {
		t.Fatal("no answer through a whole link")
	}
	first, second := l.cut(), l.cut() // two faults at once
	if asks(t, l, time.Minute) {
		t.Error("an answer through a link that is cut")
	}
	first()
	if asks(t, l, time.Minute) {
		t.Error("one fault's end healed what the other cut")
	}
	second()
	if !asks(t, l, time.Minute) {
		t.Error("no answer through a healed link")
	}
}

func TestWhatPoisonsALinkIsUndone(t *testing.T) {
	for name, bad := range map[string]toxic{"hanging": hanging, "lost answers": lostAnswers, "resetting": resetting} {
		t.Run(name, func(t *testing.T) {
			l := linked(t)
			undo, err := l.poison(bad)
			if err != nil {
				t.Fatal(err)
			}
			if asks(t, l, 200*time.Millisecond) {
				t.Error("an answer came through")
			}
			undo()
			if !asks(t, l, time.Minute) {
				t.Error("no answer through a healed link")
			}
		})
	}
}
