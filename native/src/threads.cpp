#include "threads.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace swinir {
namespace {

// Each thread comes back this often for more, so that a slow one holds nobody up.
constexpr int64_t TURNS = 16;

class Pool {
   public:
    void run(int64_t num_items, int num_threads, Task task, void* context) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) return task(context, 0, 0, num_items);
        const int num_helpers = have_workers(num_threads - 1);
        task_ = task;
        context_ = context;
        num_items_ = num_items;
        step_ = std::max<int64_t>(1, num_items / ((num_helpers + 1) * TURNS));
        next_.store(0, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            num_wanted_ = num_running_ = num_helpers;
            job_++;
        }
        start_.notify_all();
        work(0);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return num_running_ == 0; });
    }

   private:
    // Make workers until there are `count`, or no more can be made; returns how many may help.
    int have_workers(int count) {
        while (num_workers_ < count) {
            try {
                std::thread([this, number = num_workers_ + 1, job = job_] {
                    wait_for_work(number, job);
                }).detach();
            } catch (const std::system_error&) {
                break;
            }
            num_workers_++;
        }
        return std::min(count, num_workers_);
    }

    void wait_for_work(int number, uint64_t last_job) {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            start_.wait(lock, [&] { return job_ != last_job; });
            last_job = job_;
            if (number > num_wanted_) continue;
            lock.unlock();
            work(number);
            lock.lock();
            if (--num_running_ == 0) done_.notify_one();
        }
    }

    void work(int number) {
        for (;;) {
            const int64_t first = next_.fetch_add(step_, std::memory_order_relaxed);
            if (first >= num_items_) return;
            task_(context_, number, first, std::min(first + step_, num_items_));
        }
    }

    std::mutex turn_;  // held by the caller whose work the pool does
    int num_workers_ = 0;

    std::mutex mutex_;  // guards the start and the end of a job
    std::condition_variable start_, done_;
    uint64_t job_ = 0;
    int num_wanted_ = 0, num_running_ = 0;

    Task task_ = nullptr;
    void* context_ = nullptr;
    int64_t num_items_ = 0, step_ = 1;
    std::atomic<int64_t> next_{0};
};

// Never destroyed: its threads wait on it until the process ends. A forked child has none of them and begins anew.
std::atomic<Pool*> pool{nullptr};

Pool* the_pool() {
    Pool* existing = pool.load(std::memory_order_acquire);
    if (existing != nullptr) return existing;
    static const int registered = pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
    (void)registered;
    Pool* made = new Pool;
    if (pool.compare_exchange_strong(existing, made)) return made;
    delete made;
    return existing;
}

}  // namespace

void parallel_for(int64_t num_items, int num_threads, Task task, void* context) {
    if (num_items <= 0) return;
    if (num_threads <= 1 || num_items == 1) return task(context, 0, 0, num_items);
    the_pool()->run(num_items, static_cast<int>(std::min<int64_t>(num_threads, num_items)), task, context);
}

}  // namespace swinir
