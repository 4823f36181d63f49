"""The helpers of drgn that docs/drgn.md lists: a call of each, as a script would make it."""

from drgn import offsetof
from drgn.helpers import linux as h
from drgn.helpers.common import identify_address


def first(items):
    return next(iter(items))


def init(prog):
    return h.find_task(prog, 1)


def root(prog):
    return first(h.for_each_mount(prog))


def netdev(prog):
    return h.netdev_get_by_name(prog, "lo")


def file(prog):
    tasks = h.for_each_task(prog)
    return next(file for task in tasks for _, file in h.for_each_file(task))


def vma(prog):
    return first(h.for_each_vma(init(prog).mm))


def cache(prog):
    return h.find_slab_cache(prog, "dentry")


def queue(prog):
    return first(h.for_each_disk(prog)).queue


def dentry(prog):
    return root(prog).mnt.mnt_root


def modules(prog):
    return prog["modules"].address_of_()


def page(prog):
    return h.virt_to_page(init(prog))


HELPERS = {
    # Tasks.
    "for_each_task": lambda prog: list(h.for_each_task(prog)),
    "for_each_task(idle=True)": lambda prog: list(h.for_each_task(prog, idle=True)),
    "for_each_task_in_group": lambda prog: list(h.for_each_task_in_group(init(prog))),
    "find_task": init,
    "find_pid": lambda prog: h.find_pid(prog, 1),
    "for_each_pid": lambda prog: list(h.for_each_pid(prog)),
    "task_state_to_char": lambda prog: h.task_state_to_char(init(prog)),
    "get_task_state": lambda prog: h.get_task_state(init(prog)),
    "task_cpu": lambda prog: h.task_cpu(init(prog)),
    "task_on_cpu": lambda prog: h.task_on_cpu(init(prog)),
    "task_is_kthread": lambda prog: h.task_is_kthread(init(prog)),
    "task_rlimits": lambda prog: h.task_rlimits(init(prog)),
    "task_rss": lambda prog: h.task_rss(init(prog)),
    "task_vsize": lambda prog: h.task_vsize(init(prog)),
    "cmdline": lambda prog: h.cmdline(init(prog)),
    "environ": lambda prog: h.environ(init(prog)),
    "for_each_user": lambda prog: list(h.for_each_user(prog)),
    "find_user": lambda prog: h.find_user(prog, 0),
    "stack_trace of a task that sleeps": lambda prog: list(prog.stack_trace(h.find_task(prog, 2))),
    "crashed_thread().stack_trace": lambda prog: list(prog.crashed_thread().stack_trace()),
    "threads": lambda prog: list(prog.threads()),
    "panic_task": lambda prog: h.panic_task(prog),
    "panic_message": lambda prog: h.panic_message(prog),
    "tainted": lambda prog: h.tainted(prog),
    # CPUs, run queues, time.
    "for_each_online_cpu": lambda prog: list(h.for_each_online_cpu(prog)),
    "num_possible_cpus": lambda prog: h.num_possible_cpus(prog),
    "per_cpu": lambda prog: h.per_cpu(prog["runqueues"], 0).nr_running,
    "cpu_curr": lambda prog: h.cpu_curr(prog, 0),
    "idle_task": lambda prog: h.idle_task(prog, 0),
    "cpu_rq": lambda prog: h.cpu_rq(prog, 0),
    "task_rq": lambda prog: h.task_rq(init(prog)),
    "rq_for_each_fair_task": lambda prog: list(h.rq_for_each_fair_task(h.cpu_rq(prog, 0))),
    "loadavg": lambda prog: h.loadavg(prog),
    "task_since_last_arrival_ns": lambda prog: h.task_since_last_arrival_ns(init(prog)),
    "uptime": lambda prog: h.uptime(prog),
    "ktime_get_real_seconds": lambda prog: h.ktime_get_real_seconds(prog),
    "timer_base_names": lambda prog: h.timer_base_names(prog),
    "for_each_irq_desc": lambda prog: list(h.for_each_irq_desc(prog)),
    "irq_desc_kstat_cpu": lambda prog: h.irq_desc_kstat_cpu(first(h.for_each_irq_desc(prog))[1], 0),
    # Memory.
    "totalram_pages": lambda prog: h.totalram_pages(prog),
    "nr_free_pages": lambda prog: h.nr_free_pages(prog),
    "vm_commit_limit": lambda prog: h.vm_commit_limit(prog),
    "vm_memory_committed": lambda prog: h.vm_memory_committed(prog),
    "global_vm_event_state": lambda prog: h.global_vm_event_state(prog["PGFAULT"]),
    "for_each_online_pgdat": lambda prog: list(h.for_each_online_pgdat(prog)),
    "for_each_online_node": lambda prog: list(h.for_each_online_node(prog)),
    "virt_to_page": page,
    "page_to_virt": lambda prog: h.page_to_virt(page(prog)),
    "virt_to_phys": lambda prog: h.virt_to_phys(init(prog)),
    "decode_page_flags": lambda prog: h.decode_page_flags(page(prog)),
    "follow_phys": lambda prog: h.follow_phys(prog["init_mm"].address_of_(), init(prog)),
    "for_each_vmap_area": lambda prog: list(h.for_each_vmap_area(prog)),
    "for_each_vma": lambda prog: list(h.for_each_vma(init(prog).mm)),
    "vma_find": lambda prog: h.vma_find(init(prog).mm, vma(prog).vm_start),
    "access_remote_vm": lambda prog: h.access_remote_vm(init(prog).mm, init(prog).mm.arg_start, 4),
    "for_each_slab_cache": lambda prog: list(h.for_each_slab_cache(prog)),
    "find_slab_cache": cache,
    "slab_cache_usage": lambda prog: h.slab_cache_usage(cache(prog)),
    "slab_cache_for_each_allocated_object": lambda prog: first(
        h.slab_cache_for_each_allocated_object(cache(prog), "struct dentry")
    ),
    "slab_object_info": lambda prog: h.slab_object_info(init(prog)),
    "slab_total_usage": lambda prog: h.slab_total_usage(prog),
    "for_each_hstate": lambda prog: list(h.for_each_hstate(prog)),
    "for_each_swap_info": lambda prog: list(h.for_each_swap_info(prog)),
    "for_each_memory_block": lambda prog: list(h.for_each_memory_block(prog)),
    "for_each_present_section": lambda prog: list(h.for_each_present_section(prog)),
    "identify_address": lambda prog: identify_address(init(prog)),
    # The log, modules, the kernel's configuration.
    "get_dmesg": lambda prog: h.get_dmesg(prog),
    "get_printk_records": lambda prog: h.get_printk_records(prog),
    "for_each_module": lambda prog: list(h.for_each_module(prog)),
    "find_module": lambda prog: h.find_module(prog, first(h.for_each_module(prog)).name.string_()),
    "module_taints": lambda prog: h.module_taints(first(h.for_each_module(prog))) is not None,
    "module_address_regions": lambda prog: h.module_address_regions(first(h.for_each_module(prog))),
    "get_kconfig": lambda prog: h.get_kconfig(prog),
    "kaslr_offset": lambda prog: h.kaslr_offset(prog),
    "load_vmlinux_kallsyms": lambda prog: h.load_vmlinux_kallsyms(prog)(prog, "panic", None, True),
    # Files.
    "for_each_mount": lambda prog: list(h.for_each_mount(prog)),
    "mount_src, mount_dst, mount_fstype": lambda prog: (
        h.mount_src(root(prog)) + h.mount_dst(root(prog)) + h.mount_fstype(root(prog))
    ),
    "path_lookup": lambda prog: h.path_lookup(prog, "/proc"),
    "for_each_file": file,
    "d_path": lambda prog: h.d_path(file(prog).f_path),
    "dentry_path": lambda prog: h.dentry_path(dentry(prog)) == b"",
    "inode_path": lambda prog: h.inode_path(dentry(prog).d_inode) == b"",
    "decode_file_type": lambda prog: h.decode_file_type(dentry(prog).d_inode.i_mode),
    # Devices.
    "for_each_disk": lambda prog: list(h.for_each_disk(prog)),
    "for_each_partition": lambda prog: list(h.for_each_partition(prog)),
    "request_queue_busy_iter": lambda prog: list(h.request_queue_busy_iter(queue(prog))),
    "for_each_pci_dev": lambda prog: list(h.for_each_pci_dev(prog)),
    "for_each_registered_chrdev": lambda prog: list(h.for_each_registered_chrdev(prog)),
    "for_each_registered_blkdev": lambda prog: list(h.for_each_registered_blkdev(prog)),
    "for_each_resource": lambda prog: list(h.for_each_resource(prog["iomem_resource"])),
    "sysfs_listdir": lambda prog: h.sysfs_listdir(prog, "kernel"),
    # The network.
    "for_each_net": lambda prog: list(h.for_each_net(prog)),
    "for_each_netdev": lambda prog: list(h.for_each_netdev(prog["init_net"].address_of_())),
    "netdev_get_by_name": netdev,
    "netdev_ipv4_addrs": lambda prog: h.netdev_ipv4_addrs(netdev(prog)),
    "netdev_ipv6_addrs": lambda prog: h.netdev_ipv6_addrs(netdev(prog)),
    "netdev_for_each_tx_queue": lambda prog: list(h.netdev_for_each_tx_queue(netdev(prog))),
    "neigh_table_for_each_neighbor": lambda prog: list(
        h.neigh_table_for_each_neighbor(prog["arp_tbl"].nht)
    ),
    # BPF, control groups, IPC.
    "bpf_prog_for_each": lambda prog: list(h.bpf_prog_for_each(prog)),
    "bpf_map_for_each": lambda prog: list(h.bpf_map_for_each(prog)),
    "css_for_each_descendant_pre": lambda prog: list(
        h.css_for_each_descendant_pre(prog["cgrp_dfl_root"].cgrp.self.address_of_())
    ),
    "cgroup_path": lambda prog: h.cgroup_path(prog["cgrp_dfl_root"].cgrp.address_of_()),
    "for_each_sysv_shm": lambda prog: list(h.for_each_sysv_shm(prog)),
    # Containers.
    "list_for_each_entry": lambda prog: list(
        h.list_for_each_entry("struct module", modules(prog), "list")
    ),
    "validate_list_count_nodes": lambda prog: h.validate_list_count_nodes(modules(prog)),
    "hlist_for_each_entry": lambda prog: [
        user
        for bucket in range(128)
        for user in h.hlist_for_each_entry(
            "struct user_struct", prog["uidhash_table"][bucket].address_of_(), "uidhash_node"
        )
    ],
    "rbtree_inorder_for_each_entry": lambda prog: list(
        h.rbtree_inorder_for_each_entry(
            "struct kernfs_node", prog["sysfs_root_kn"].dir.children.address_of_(), "rb"
        )
    ),
    "idr_for_each": lambda prog: list(h.idr_for_each(prog["init_pid_ns"].idr.address_of_())),
    "xa_for_each": lambda prog: list(
        h.xa_for_each(prog["init_pid_ns"].idr.idr_rt.address_of_())
    ),
    "offsetof": lambda prog: offsetof(prog.type("struct task_struct"), "tasks"),
}
"""Names in the table, and calls."""
