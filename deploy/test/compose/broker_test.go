package compose

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// image is the NATS image of docker-compose.yml.
const image = "nats:2.15.2-alpine"

// TestMain disables the reaper of testcontainers, which would need another image. The tests remove their containers.
func TestMain(m *testing.M) {
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// broker is a NATS server in a container. Its address survives a restart.
type broker struct {
	url       string
	container testcontainers.Container
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	needImage(t)
	conf, err := filepath.Abs("../../compose/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	c, err := testcontainers.Run(t.Context(), image,
		testcontainers.WithExposedPorts("4222/tcp"),
		testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
			c.PortBindings = network.PortMap{network.MustParsePort("4222/tcp"): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(port)}}}
		}),
		testcontainers.WithFiles(
			testcontainers.ContainerFile{HostFilePath: conf, ContainerFilePath: "/etc/nats/tieback.conf", FileMode: 0o644},
			// Without users, a client without a key may do everything. The pipeline is one process here.
			testcontainers.ContainerFile{Reader: strings.NewReader("# no users\n"), ContainerFilePath: "/etc/nats/users/users.conf", FileMode: 0o644},
		),
		testcontainers.WithCmd("--config", "/etc/nats/tieback.conf"),
		testcontainers.WithWaitStrategy(wait.ForLog("Server is ready")),
	)
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return &broker{url: fmt.Sprintf("nats://127.0.0.1:%d", port), container: c}
}

// kill ends the server at once.
func (b *broker) kill(t *testing.T) {
	t.Helper()
	if err := b.container.Stop(t.Context(), new(time.Duration)); err != nil {
		t.Fatal(err)
	}
}

// start starts the server again with the same files.
func (b *broker) start(t *testing.T) {
	t.Helper()
	if err := b.container.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// needImage skips the test on a machine without Docker or the image. In CI the test fails.
func needImage(t *testing.T) {
	t.Helper()
	if err := haveImage(t.Context()); err != nil {
		why := fmt.Sprintf("LEFT OUT: this test needs %s in Docker: %v", image, err)
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}

func haveImage(ctx context.Context) error {
	docker, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer docker.Close()
	if err := docker.Health(ctx); err != nil {
		return err
	}
	if _, err := docker.Client().ImageInspect(ctx, image); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return docker.PullImage(ctx, image)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
