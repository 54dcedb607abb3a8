/* Open-loop load: requests at a constant rate, whether or not earlier ones were answered.

   arrivals PORT RATE SECONDS PATIENCE REQUEST_FILE

   Sends the bytes of REQUEST_FILE to 127.0.0.1, each time on an idle connection or on a new one.
   For each request it prints the status (0: broken connection; -1: no answer after PATIENCE
   seconds) and the microseconds since the request was due. Due requests are never postponed, so no
   waiting time is missed (no coordinated omission). */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16000, ROOM = 1 << 16, EVENTS = 256 };

typedef struct {
    int fd;
    int busy;
    double due;
    size_t sent, got;
    char *answer;
} Connection;

static Connection all[MOST];
static int count, idle[MOST], idles, poller;
static char *request;
static size_t length;
static struct sockaddr_in address;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void tell(Connection *c, int status) {
    printf("%d %.0f\n", status, (now() - c->due) * 1e6);
    c->busy = 0;
}

static void lose(Connection *c) {
    if (c->busy) tell(c, 0);
    close(c->fd);
    c->fd = -1;
}

static void send_rest(Connection *c) {
    while (c->sent < length) {
        ssize_t n = send(c->fd, request + c->sent, length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
        if (n < 0) { lose(c); return; }
        c->sent += n;
    }
}

/* An answer is complete with its header and as many bytes as that announces. */
static void read_on(Connection *c, int index) {
    ssize_t n = recv(c->fd, c->answer + c->got, ROOM - 1 - c->got, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { lose(c); return; }
    if (!c->busy) return;
    c->got += n;
    c->answer[c->got] = 0;
    char *body = strstr(c->answer, "\r\n\r\n");
    if (!body) return;
    char *size = strcasestr(c->answer, "content-length:");
    size_t announced = size && size < body ? strtoul(size + 15, NULL, 10) : 0;
    if (c->got < (size_t)(body + 4 - c->answer) + announced) return;
    tell(c, atoi(c->answer + 9));
    idle[idles++] = index;
}

static int opened(void) {
    if (count == MOST) return -1;
    Connection *c = &all[count];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) return -1;
    if (!c->answer) c->answer = malloc(ROOM);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        close(c->fd);
        return -1;
    }
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.u32 = count}};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    return count++;
}

static void start(double due) {
    int index = -1;
    while (idles && index < 0) {
        index = idle[--idles];
        if (all[index].fd < 0) index = -1;
    }
    if (index < 0) index = opened();
    if (index < 0) {
        printf("0 0\n");
        return;
    }
    Connection *c = &all[index];
    c->busy = 1;
    c->due = due;
    c->sent = c->got = 0;
    send_rest(c);
}

/* Sleeps, at most this long: a spinning generator would take a core from the server. */
static void attend(double seconds) {
    struct pollfd anything = {poller, POLLIN, 0};
    struct timespec longest = {seconds, (seconds - (long)seconds) * 1e9};
    if (ppoll(&anything, 1, &longest, NULL) <= 0) return;
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        Connection *c = &all[events[i].data.u32];
        if (c->fd >= 0 && events[i].events & EPOLLOUT && c->busy) send_rest(c);
        if (c->fd >= 0 && events[i].events & ~EPOLLOUT) read_on(c, events[i].data.u32);
    }
}

static int busy(void) {
    int found = 0;
    for (int i = 0; i < count; i++) found += all[i].busy;
    return found;
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    double rate = atof(argv[2]), seconds = atof(argv[3]), patience = atof(argv[4]);
    FILE *file = fopen(argv[5], "rb");
    if (!file) return 1;
    request = malloc(1 << 26);
    length = fread(request, 1, 1 << 26, file);
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct rlimit files = {MOST + 64, MOST + 64};
    if (setrlimit(RLIMIT_NOFILE, &files)) {
        perror("as many connections as a load needs cannot be open");
        return 1;
    }
    poller = epoll_create1(0);
    double begin = now();
    for (long i = 0; i < rate * seconds; i++) {
        double due = begin + i / rate, left;
        while ((left = due - now()) > 0) attend(left);
        start(due);
    }
    double end = now() + patience;
    while (busy() && now() < end) attend(0.01);
    for (int i = 0; i < count; i++)
        if (all[i].busy) tell(&all[i], -1);
    return 0;
}
